"""The seed's recommendations: what worked in each class of queries, as its callers know it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stream.learning.evolving.suggesting import LEAST_TURNS, SPARE_TURNS, TURNS_SHARE
from stream.learning.trace import Trace, TraceStep
from stream.reading.query_class import classify_query

LEAST_FAILURES = 3
"""Calls that a tool must have failed, all of them, to be recommended no longer."""


@dataclass(slots=True)
class Tally:
    """What is counted of a tool's calls, or of an agent's traces.

    Attributes:
        count: of them.
        successes: whose trace succeeded.
        feedback: sum of their ratings; an unrated one adds nothing.
        failed: calls that said themselves that they failed.
    """

    count: int = 0
    successes: int = 0
    feedback: float = 0.0
    failed: int = 0

    def add(self, trace: Trace, *, failed: bool = False) -> None:
        """Count one."""
        self.count += 1
        self.successes += trace.outcome == "success"
        self.feedback += rating(trace) or 0.0
        self.failed += failed

    @property
    def only_fails(self) -> bool:
        """Whether every call said that it failed; one that does not say is unknown, not failed."""
        return self.failed == self.count >= LEAST_FAILURES


def tool_score(count: int, successes: int, feedback_sum: float) -> float:
    """Return the seed's score of a tool: .4 success rate, .4 mean rating, .2 for how much it is used; in [0, 1] where ratings are.

    Example:
        >>> round(tool_score(10, 8, 7.0), 5), tool_score(0, 0, 0.0)   # .4 · .8 + .4 · .7 + .2 · ln 11 / 10
        (0.64796, 0.0)
    """
    return 0.4 * successes / count + 0.4 * feedback_sum / count + 0.2 * min(math.log1p(count) / 10, 1.0) if count else 0.0


def agent_score(count: int, successes: int, feedback_sum: float) -> float:
    """Return the seed's score of an agent: .6 success rate, .4 mean rating.

    Example:
        >>> round(agent_score(10, 8, 7.0), 5)
        0.76
    """
    return 0.6 * successes / count + 0.4 * feedback_sum / count if count else 0.0


def max_turns(calls: Sequence[int]) -> int:
    """Return the turns that three quarters of the traces come by with, and two more, but five at the least.

    Args:
        calls: of tools, one number a trace.

    Example:
        >>> max_turns([3, 3, 3, 10]), max_turns([4]), max_turns([0])
        (12, 6, 5)
    """
    ranked = sorted(calls)
    return max(LEAST_TURNS, ranked[min(int(TURNS_SHARE * len(ranked)), len(ranked) - 1)] + SPARE_TURNS)


def rating(trace: Trace) -> float | None:
    """Return a trace's rating; None where it has none that is a number."""
    found = trace.feedback
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def recommendations(traces: Iterable[Trace], *, min_quality: float) -> list[dict[str, Any]]:
    """Recommend tools, an agent and turns for every class of queries, in alphabetical order.

    Args:
        traces: in the order of the store.
        min_quality: of a trace, in [0, 1]; a class of which every trace failed, or is rated below it, has nothing to recommend.
    """
    classes: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        classes[classify_query(trace.query)].append(trace)
    found = (_recommendation(name, members) for name, members in sorted(classes.items()) if any(_is_good(trace, min_quality) for trace in members))
    return [each for each in found if each is not None]


def _is_good(trace: Trace, min_quality: float) -> bool:
    """Whether nothing says that a trace is bad."""
    rated = rating(trace)
    return trace.outcome in ("success", None) and (rated is None or rated >= min_quality)


def _recommendation(query_class: str, traces: list[Trace]) -> dict[str, Any] | None:
    agents: dict[str, Tally] = defaultdict(Tally)
    tools: dict[str, Tally] = defaultdict(Tally)
    for trace in traces:
        if trace.agent:
            agents[trace.agent].add(trace)
        for step in tool_calls(trace):
            if name := step.input.get("tool"):
                tools[str(name)].add(trace, failed=step.output.get("success") is False)
    if not agents:
        return None
    ranked = sorted((name for name, tally in tools.items() if not tally.only_fails), key=lambda name: -_scored(tool_score, tools[name]))
    return {
        "query_class": query_class,
        "recommended_tools": ranked,
        "recommended_agent": max(agents, key=lambda name: _scored(agent_score, agents[name])),
        "recommended_max_turns": max_turns([len(tool_calls(trace)) for trace in traces]),
        "sample_count": len(traces),
    }


def tool_calls(trace: Trace) -> list[TraceStep]:
    """Return the steps of a trace that called a tool."""
    return [step for step in trace.steps if step.step_type == "tool_call"]


def _scored(score: Any, tally: Tally) -> float:
    return float(score(tally.count, tally.successes, tally.feedback))
