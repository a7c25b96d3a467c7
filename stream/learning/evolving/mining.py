"""What a cycle of the library learns from, as the seed mines it: answers that succeeded and are rated well; and better pairs under names of their own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stream.learning.analyzer import TRACES_MAX
from stream.learning.evolving.scoring import rating, tool_calls
from stream.learning.mining.answers import Answer, conversation
from stream.learning.mining.choosing import places
from stream.learning.mining.export import Form, rows_of
from stream.learning.splits import Split, split_of
from stream.learning.trace import Trace
from stream.reading.query_class import classify_query

if TYPE_CHECKING:
    from stream.learning.mining.redaction import Redactor


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

    def conversations(self, *, agent: str | None = None, split: Split | None = None, redactor: Redactor | None = None) -> list[dict[str, Any]]:
        """Return the best rated good answer to each query as chat messages, tool calls included, with its trace's id.

        Args:
            agent: only of this one.
            split: only of this side, by a hash of the query; None: of all.
            redactor: takes secrets and personal data out; None leaves them.
        """
        return self._rows("chat", agent, split, redactor)

    def preferences(self, *, agent: str | None = None, split: Split | None = None, redactor: Redactor | None = None) -> list[dict[str, Any]]:
        """Return, of every query that has a good and a bad answer, `prompt`, `chosen` and `rejected`, with both traces' ids; as `conversations`."""
        return self._rows("preference", agent, split, redactor)

    def _rows(self, form: Form, agent: str | None, split: Split | None, redactor: Redactor | None) -> list[dict[str, Any]]:
        found = [answer for number, trace in enumerate(self._traces(agent)) if (answer := _answer(trace, -number)) is not None and split in (None, answer.split)]
        return list(rows_of(found, places(found, min_quality=self._min_quality), form, redactor))

    def _traces(self, agent: str | None) -> list[Trace]:
        return list(self._store.list_traces(limit=TRACES_MAX, **({} if agent is None else {"agent": agent})))

    def _good(self, agent: str | None) -> list[Trace]:
        return [trace for trace in self._traces(agent) if trace.outcome == "success" and (rated := rating(trace)) is not None and rated >= self._min_quality]

    def _classes(self, agent: str | None) -> dict[str, list[Trace]]:
        classes: dict[str, list[Trace]] = defaultdict(list)
        for trace in self._good(agent):
            classes[classify_query(trace.query)].append(trace)
        return {name: traces for name, traces in classes.items() if len(traces) >= self._least}


def _answer(trace: Trace, seq: int) -> Answer | None:
    """Read a trace as the archive's are read: without a rating its outcome is its score. The number says which of equals is the newer."""
    if not trace.query.strip() or not trace.result.strip():
        return None
    rated = rating(trace)
    return Answer(
        seq=seq,
        trace_id=trace.trace_id,
        query=trace.query,
        result=trace.result,
        query_class=classify_query(trace.query),
        agent=trace.agent,
        model=trace.model,
        outcome=trace.outcome,
        score={"success": 1.0, "failure": 0.0}.get(trace.outcome or "") if rated is None else rated,
        split=split_of(trace.query),
        messages=conversation(trace),
    )


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
