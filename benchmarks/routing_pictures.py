"""Draws docs/pictures/*.svg from the curves that `python -m benchmarks.routing_quality --curves FILE` writes.

    .venv/bench/bin/python -m benchmarks.routing_pictures FILE

The same curves make the same files, to the byte. Backgrounds are transparent and all colours of middle lightness, to be
read on white and on black.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
INK = "#858585"
STYLES: Mapping[str, tuple[str, str, float]] = {
    "contextual": ("#2f8fd8", "contextual", 1.8),
    "inverse_gap": ("#2f8fd8", "the same without context", 0.9),
    "thompson": ("#3aa655", "thompson", 1.1),
    "mabwiser_linucb": ("#d9822b", "MABWiser LinUCB", 1.1),
    "mabwiser_thompson": ("#d9822b", "MABWiser Thompson", 0.9),
    "vw": ("#b05fc4", "Vowpal Wabbit", 1.1),
}
"""Colour, name and line width of each contestant."""
DASHED = frozenset({"inverse_gap", "mabwiser_thompson"})
COLUMNS = 3
PANEL_INCHES = (3.0, 2.1)
SETTINGS = {
    "svg.hashsalt": "eddy",
    "svg.fonttype": "none",
    "font.size": 8,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "path.simplify": True,
}

Curves = Mapping[str, Mapping[str, Any]]
Panel = tuple[str, str]
"""A set, and which of its curves."""
LEFT_OUT = frozenset({"mmlu_subject", "mmlu_text", "pb3_low_warm", "pb3_mid_warm", "pb3_high_warm"})
"""Scored by their ranking, so that their rewards while labels come in say little; or the same rounds as another set, of which the second half counts."""


def rewards(curves: Curves) -> list[Panel]:
    """Mean reward so far, of each set that is scored by it."""
    return [(name, "reward") for name in curves if name not in LEFT_OUT]


def changes(curves: Curves) -> list[Panel]:
    """Reward and spend of the last fifty requests where conditions change."""
    return [(name, kind) for kind in ("recent", "spend") for name, each in curves.items() if each["changes"]]


def spends(curves: Curves) -> list[Panel]:
    """Spend of the last fifty requests where conditions stay."""
    return [(name, "spend") for name, each in curves.items() if name not in LEFT_OUT and not each["changes"] and "spend" in next(iter(each["contestants"].values()))]


def newcomers(curves: Curves) -> list[Panel]:
    """Share of an arm that comes later, and what it did to the spend."""
    return [(name, kind) for name, each in curves.items() if each["new_arm_at"] is not None for kind in ("newcomer", "recent", "spend")]


FIGURES: Mapping[str, Callable[[Curves], list[Panel]]] = {
    "routing-reward": rewards,
    "routing-changes": changes,
    "routing-spend": spends,
    "routing-new-arm": newcomers,
}
PATH = re.compile(r' d="[^"]*"')
FINE = re.compile(r"(\d\.\d)\d+")
"""Digits of a coordinate, in points, that nobody sees."""
LABELS = {"reward": "mean reward so far", "recent": "reward, last 50", "spend": "spend / ceiling, last 50", "newcomer": "share of the new arm, last 50"}


def draw(panels: Sequence[Panel], curves: Curves, path: Path) -> None:
    """Draw one figure."""
    columns = min(COLUMNS, len(panels)) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.5), squeeze=False, layout="constrained")
    for axes, panel in zip(grid.flat, panels, strict=False):
        _panel(axes, panel, curves[panel[0]])
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles = {label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns + 1)
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    path.write_text(PATH.sub(lambda found: FINE.sub(r"\1", found[0]), path.read_text()))


def _panel(axes: Any, panel: Panel, curves: Mapping[str, Any]) -> None:
    name, kind = panel
    shown = [contestant for contestant in STYLES if kind in curves["contestants"].get(contestant, {})]
    for contestant in shown:
        colour, label, width = STYLES[contestant]
        line = (0, (3, 1.5)) if contestant in DASHED else "solid"
        axes.plot(curves["rounds"], curves["contestants"][contestant][kind], color=colour, linewidth=width, label=label, linestyle=line)
    if kind == "reward":
        axes.axhline(curves["best_mix"], color=INK, linewidth=0.8, linestyle="dotted", label="best mix of two fixed arms")
    if kind == "spend":
        axes.axhline(1.0, color=INK, linewidth=0.8, linestyle="dotted")
    for turn in [*curves["changes"], *([curves["new_arm_at"]] if curves["new_arm_at"] is not None else [])]:
        axes.axvline(turn, color=INK, linewidth=0.6, linestyle="dashed")
    axes.set_ylim(*_limits(kind, [curves["contestants"][contestant][kind] for contestant in shown], curves))
    axes.set_title(name)
    axes.set_ylabel(LABELS[kind])


def _limits(kind: str, lines: Iterable[Sequence[float]], curves: Mapping[str, Any]) -> tuple[float, float]:
    """What of the y axis is shown: a start that soars must not flatten all that follows."""
    values = sorted(value for line in lines for value in line[len(line) // 20 :])
    low, high = values[len(values) // 100], values[-1 - len(values) // 100]
    if kind in ("spend", "newcomer"):
        return 0.0, max(min(high, 3.0), 1.2) if kind == "spend" else max(high * 1.1, 0.05)
    if kind == "reward":
        low, high = min(low, curves["best_mix"]), max(high, curves["best_mix"])
    return low - 0.05 * (high - low), high + 0.1 * (high - low)


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing_pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path, help="what benchmarks.routing_quality --curves wrote")
    parser.add_argument("--folder", type=Path, default=PICTURES)
    given = parser.parse_args()
    curves: Curves = json.loads(given.curves.read_text())
    given.folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(SETTINGS):
        for name, chosen in FIGURES.items():
            if panels := chosen(curves):
                draw(panels, curves, given.folder / f"{name}.svg")


if __name__ == "__main__":
    main()
