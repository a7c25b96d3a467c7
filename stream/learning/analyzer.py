"""Numbers about the traces of a store: of all, by model and agent, by tool."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median, stdev
from typing import Any

from stream.learning.trace import StepType, Trace, TraceStep

TRACES_MAX = 10_000
"""Newest traces that are looked at."""
_CODE = re.compile(r"```|(?:def|class|import|function|const|var) ")


@dataclass(frozen=True, slots=True)
class StepTypeStats:
    """The steps of one type: seconds, tokens, joules; the standard deviation is the sample's, 0 of fewer than two."""

    count: int = 0
    avg_duration: float = 0.0
    median_duration: float = 0.0
    min_duration: float = 0.0
    max_duration: float = 0.0
    std_duration: float = 0.0
    avg_input_tokens: float = 0.0
    median_input_tokens: float = 0.0
    min_input_tokens: float = 0.0
    max_input_tokens: float = 0.0
    std_input_tokens: float = 0.0
    avg_output_tokens: float = 0.0
    median_output_tokens: float = 0.0
    min_output_tokens: float = 0.0
    max_output_tokens: float = 0.0
    std_output_tokens: float = 0.0
    total_energy: float = 0.0


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """All traces together; the success rate is of those whose outcome is known, 0 where none is."""

    total_traces: int = 0
    total_steps: int = 0
    avg_steps_per_trace: float = 0.0
    avg_latency: float = 0.0
    avg_tokens: float = 0.0
    success_rate: float = 0.0
    step_type_distribution: dict[str, int] = field(default_factory=dict)
    total_energy_joules: float = 0.0
    total_generate_energy_joules: float = 0.0
    step_type_stats: dict[str, StepTypeStats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteStats:
    """The traces of one model and agent."""

    model: str
    agent: str
    count: int = 0
    avg_latency: float = 0.0
    avg_tokens: float = 0.0
    success_rate: float = 0.0
    avg_feedback: float | None = None


@dataclass(frozen=True, slots=True)
class ToolStats:
    """The calls of one tool; the success rate is of all calls, one that does not say counting as none."""

    tool_name: str
    call_count: int = 0
    avg_latency: float = 0.0
    success_rate: float = 0.0


class TraceAnalyzer:
    """Reads a store, never writes it.

    Args:
        store: with `list_traces(limit=…, [since=…, until=…])`.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def summary(self, since: float | None = None, until: float | None = None) -> TraceSummary:
        """Sum all traces up that started between two times, epoch seconds."""
        traces = self.traces(since, until)
        if not traces:
            return TraceSummary()
        steps = [step for trace in traces for step in trace.steps]
        return TraceSummary(
            total_traces=len(traces),
            total_steps=len(steps),
            avg_steps_per_trace=len(steps) / len(traces),
            avg_latency=fmean(trace.total_latency_seconds for trace in traces),
            avg_tokens=fmean(trace.total_tokens for trace in traces),
            success_rate=_success_rate(traces),
            step_type_distribution=dict(Counter(_type_of(step) for step in steps)),
            total_energy_joules=sum(map(_energy, steps)),
            total_generate_energy_joules=sum(_energy(step) for step in steps if _type_of(step) == StepType.GENERATE.value),
            step_type_stats={name: _step_stats(group) for name, group in sorted(_grouped(steps, _type_of).items())},
        )

    def per_route_stats(self, since: float | None = None, until: float | None = None) -> list[RouteStats]:
        """Sum up by model and agent, sorted by both."""
        groups = _grouped(self.traces(since, until), lambda trace: (trace.model, trace.agent))
        return [
            RouteStats(
                model=model,
                agent=agent,
                count=len(traces),
                avg_latency=fmean(trace.total_latency_seconds for trace in traces),
                avg_tokens=fmean(trace.total_tokens for trace in traces),
                success_rate=_success_rate(traces),
                avg_feedback=fmean(rated) if (rated := [trace.feedback for trace in traces if trace.feedback is not None]) else None,
            )
            for (model, agent), traces in sorted(groups.items())
        ]

    def per_tool_stats(self, since: float | None = None, until: float | None = None) -> list[ToolStats]:
        """Sum up by tool, sorted by name."""
        calls = [step for trace in self.traces(since, until) for step in trace.steps if _type_of(step) == StepType.TOOL_CALL.value]
        return [
            ToolStats(
                tool_name=name,
                call_count=len(steps),
                avg_latency=fmean(step.duration_seconds for step in steps),
                success_rate=fmean(bool(step.output.get("success")) for step in steps),
            )
            for name, steps in sorted(_grouped(calls, lambda step: str(step.input.get("tool") or "unknown")).items())
        ]

    def traces_for_query_type(
        self, *, has_code: bool = False, min_length: int | None = None, max_length: int | None = None, since: float | None = None, until: float | None = None
    ) -> list[Trace]:
        """Return the traces whose query is so long, and has words of code if asked."""
        return [
            trace
            for trace in self.traces(since, until)
            if (not has_code or _CODE.search(trace.query)) and (min_length or 0) <= len(trace.query) and (max_length is None or len(trace.query) <= max_length)
        ]

    def export_traces(self, since: float | None = None, until: float | None = None, limit: int = 1000) -> list[dict[str, Any]]:
        """Return traces as plain dictionaries, without their messages."""
        return [_exported(trace) for trace in self.traces(since, until, limit=limit)]

    def traces(self, since: float | None = None, until: float | None = None, *, limit: int = TRACES_MAX) -> list[Trace]:
        """Return the newest traces that started between two times, epoch seconds."""
        bounds = {name: bound for name, bound in (("since", since), ("until", until)) if bound is not None}
        return list(self._store.list_traces(limit=limit, **bounds))


def _grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _type_of(step: TraceStep) -> str:
    return str(step.step_type)


def _success_rate(traces: Sequence[Trace]) -> float:
    known = [trace.outcome == "success" for trace in traces if trace.outcome is not None]
    return fmean(known) if known else 0.0


def _energy(step: TraceStep) -> float:
    return float(step.metadata.get("energy_joules") or 0.0)


def _step_stats(steps: Sequence[TraceStep]) -> StepTypeStats:
    columns = {
        "duration": [step.duration_seconds for step in steps],
        "input_tokens": [float(step.output.get("prompt_tokens") or 0) for step in steps],
        "output_tokens": [float(step.output.get("completion_tokens") or 0) for step in steps],
    }
    numbers = {f"{what}_{name}": of(column) for name, column in columns.items() for what, of in _SUMMARIES.items()}
    return StepTypeStats(count=len(steps), total_energy=sum(map(_energy, steps)), **numbers)


def _deviation(column: Sequence[float]) -> float:
    return stdev(column) if len(column) > 1 else 0.0


_SUMMARIES: dict[str, Callable[[Sequence[float]], float]] = {"avg": fmean, "median": median, "min": min, "max": max, "std": _deviation}


def _exported(trace: Trace) -> dict[str, Any]:
    exported = asdict(trace)
    del exported["messages"]
    for step in exported["steps"]:
        step["step_type"] = str(step["step_type"])
    return exported
