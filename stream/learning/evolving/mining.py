"""What a cycle of the library learns from, as the seed mines it: answers that succeeded and are rated well."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from stream.learning.analyzer import TRACES_MAX
from stream.learning.evolving.scoring import rating, tool_calls
from stream.learning.trace import Trace
from stream.reading.query_class import classify_query


class TrainingDataMiner:
    """Mines traces for pairs.

    Args:
        trace_store: with `list_traces(limit=…, [agent=…])`.
        min_quality: rating, in [0, 1], from which an answer that succeeded is learned from.
        min_samples_per_class: such answers, below which a class is left out.
    """

    def __init__(self, trace_store: Any, *, min_quality: float = 0.7, min_samples_per_class: int = 1) -> None:
        self._store, self._min_quality, self._least = trace_store, min_quality, min_samples_per_class

    def extract_sft_pairs(self, *, agent: str | None = None) -> list[dict[str, Any]]:
        """Return dicts with `input`, `output`, `query_class`, `model` and `feedback`; the same answer to the same query once, the first in the store's order."""
        pairs: dict[tuple[str, str], dict[str, Any]] = {}
        for trace in self._good(agent):
            pair = {"input": trace.query, "output": trace.result, "query_class": classify_query(trace.query), "model": trace.model, "feedback": trace.feedback}
            pairs.setdefault((trace.query, trace.result), pair)
        return list(pairs.values())

    def extract_routing_pairs(self, *, agent: str | None = None) -> dict[str, dict[str, Any]]:
        """Return, by class, `best_model`, `avg_feedback` of the whole class, `sample_count` and `all_models` with `avg_feedback` and `count` each."""
        return {name: _of_models(traces) for name, traces in self._classes(agent).items()}

    def extract_agent_config_pairs(self, *, agent: str | None = None) -> dict[str, dict[str, Any]]:
        """Return, by class, `best_agent`, its `best_tools` by how often they were called, `avg_feedback` of the whole class and `sample_count`."""
        return {name: _of_agents(traces) for name, traces in self._classes(agent).items()}

    def _good(self, agent: str | None) -> list[Trace]:
        scope = {} if agent is None else {"agent": agent}
        traces = self._store.list_traces(limit=TRACES_MAX, **scope)
        return [trace for trace in traces if trace.outcome == "success" and (rated := rating(trace)) is not None and rated >= self._min_quality]

    def _classes(self, agent: str | None) -> dict[str, list[Trace]]:
        classes: dict[str, list[Trace]] = defaultdict(list)
        for trace in self._good(agent):
            classes[classify_query(trace.query)].append(trace)
        return {name: traces for name, traces in classes.items() if len(traces) >= self._least}


def _mean(traces: Iterable[Trace]) -> float:
    ratings = [rating(trace) or 0.0 for trace in traces]
    return sum(ratings) / len(ratings)


def _by(attribute: str, traces: list[Trace]) -> dict[str, list[Trace]]:
    groups: dict[str, list[Trace]] = defaultdict(list)
    for trace in traces:
        groups[getattr(trace, attribute)].append(trace)
    return groups


def _of_models(traces: list[Trace]) -> dict[str, Any]:
    models = {name: {"avg_feedback": _mean(members), "count": len(members)} for name, members in _by("model", traces).items()}
    best = max(models, key=lambda name: models[name]["avg_feedback"])
    return {"best_model": best, "avg_feedback": _mean(traces), "sample_count": len(traces), "all_models": models}


def _of_agents(traces: list[Trace]) -> dict[str, Any]:
    agents = _by("agent", traces)
    best = max(agents, key=lambda name: _mean(agents[name]))
    used = Counter(str(name) for trace in agents[best] for step in tool_calls(trace) if (name := step.input.get("tool")))
    return {"best_agent": best, "best_tools": [name for name, _ in used.most_common()], "avg_feedback": _mean(traces), "sample_count": len(traces)}
