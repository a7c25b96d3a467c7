"""The section of `docs/benchmarks.md`, and the last line: one entry a set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import report

COLUMNS = {
    "reward": "reward",
    "spend_ratio_mean": "spend / ceiling",
    "spend_ratio_worst": "worst seed",
    "regret": "regret",
    "best_mix": "best mix of two",
    "best_by_class": "best by class",
    "oracle": "oracle",
    "ours_minus_mabwiser": "ours - MABWiser",
    "ours_minus_vw": "ours - VW",
    "contextual_minus_context_free": "contextual - context-free",
}
BESIDE = ("apgr", "cpt80", "latency_mean_s", "phase_spend_ratios", "phase_rewards", "adaptation_requests", "new_arm_requests")


NOTES = tuple(
    paragraph.replace("\n", " ")
    for paragraph in """
The data are the development halves that the README beside them (`shared/data`) lists with their sources and licences: ParetoBandit (its val split),
RouteLLM's MMLU answers, BFCL, InterCode SQL. Nothing here is a result on a test split.

Each query once per seed, in a seeded random order; bandit feedback everywhere, in warm-up too: of each request the outcome of the chosen arm is
revealed, and nothing else. All settings are the same for every set, and were fixed before any was scored. What is scored is `contextual`.

The class is read off the query's text, but for `mmlu_subject`, where it is the subject. Ceilings: $3e-4 / 6.6e-4 / 1.9e-3 a request on ParetoBandit
(`low`, `mid`, `high`; `mid` where the name says none), 1.3 s on BFCL, none on InterCode.

`_warm`: a random half is replayed first by the same rules, and the other half is scored. `bfcl`: 2,000 draws with replacement over the 58 arms whose
latency is recorded; the last 500 are scored.

`pb3_price_drift`, `pb3_degradation`: three equal phases; in the second the costliest arm's price is a tenth, or the reward of the best arm within the
ceiling is times .82. `adaptation_requests`: after either change (the slower one counts), requests until a window of 50 begins whose mean reward over the
seeds is within .01 of that of the phase's second half.

`pb4_new_arm`: the fourth arm is added after a third; `new_arm_requests`: requests until a window of 50 begins in which its share over the seeds is at
least 90 % of that over the second half since.

`mmlu_*`: 1,500 labels, each the outcome of the one arm that was chosen, under a ceiling that lets half of them be the strong model's (by the prices of
RouteLLM's paper; what is spent is not scored); then all 12,542 other queries are ranked. `apgr`: area under the recovered share of the performance gap
over the share of strong calls; `cpt80`: least share of strong calls, in percent, that recovers 80 %. Contestants are compared by `apgr` there.

`regret`: what the best mix of two fixed arms in hindsight earns more at the same spend (the best fixed arm without a ceiling). The baselines in the
table know every outcome, and spend the ceiling.

Rivals learn from reward - price x spend / ceiling, the price tuned on three other seeds until they spend what ours does. What they then spend still
differs, so each contestant is held against the best mix of two fixed arms at its own spend, and `ours -` is the difference of that: low, mean and high
of its paired 95 % interval over the seeds. MABWiser: the better of Thompson sampling (no context) and LinUCB (alpha .6; the class, and the
features that `contextual` has). Vowpal Wabbit: `--cb_explore_adf --squarecb --cb_type mtr -q CA -q UA` on class and words.
""".strip().split("\n\n")
)
"""What a reader must know to read the figures."""


def rounded(value: Any) -> Any:
    """Figures as they are shown, however deep they stand.

    Example:
        >>> rounded({"a": [0.123456, None], "b": {"c": 7}})
        {'a': [0.1235, None], 'b': {'c': 7}}
    """
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else report.rounded({"": value})[""]


def section(figures: Mapping[str, Any], *, conditions: str, notes: Sequence[str]) -> str:
    """Write the section's body: a row a set, then what only some sets have, then the figures of none."""
    sets: Mapping[str, Mapping[str, Any]] = rounded(figures["sets"])
    rows = [f"| `{name}` | {' | '.join(_cell(entry.get(column)) for column in COLUMNS)} |" for name, entry in sets.items()]
    beside = [f"| `{name}` | `{figure}` | {_cell(entry[figure])} |" for name, entry in sets.items() for figure in BESIDE if entry.get(figure) is not None]
    others = [f"| | `{name}` | {_cell(value)} |" for name, value in rounded({name: each for name, each in figures.items() if name != "sets"}).items()]
    table = [f"| set | {' | '.join(COLUMNS.values())} |", f"|---|{'---:|' * len(COLUMNS)}", *rows]
    return "\n".join([f"{report.machine()}. {conditions}", "", *table, "", "| set | figure | |", "|---|---|---:|", *beside, *others, "", *[f"- {note}" for note in notes]])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(map(_cell, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(each)}" for name, each in value.items())
    return "" if value is None else str(value)


def finish(name: str, figures: Mapping[str, Any], *, conditions: str, notes: Sequence[str], write: bool) -> None:
    """Update the page, and print the last line."""
    if write:
        report.PAGE.write_text(report.replaced(report.PAGE.read_text(), name, section(figures, conditions=conditions, notes=notes)))
    print(json.dumps(rounded(figures)), flush=True)
