"""Choosing a model by what served a query's class best so far."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stream.learning.analyzer import TRACES_MAX, TraceAnalyzer
from stream.learning.contracts import IntelligenceLearningPolicy, RouterPolicy, RoutingContext
from stream.learning.trace import Trace
from stream.reading.query_class import classify_query

MIN_SAMPLES = 5
SUCCESS_WEIGHT, FEEDBACK_WEIGHT = 0.6, 0.4
UNRATED = 0.5
"""What stands for the ratings of a model that has none."""
UNKNOWN_MODEL = "unknown"


@dataclass(slots=True)
class ModelScore:
    """What is known of a model in a class."""

    count: int = 0
    successes: int = 0
    ratings: list[float] = field(default_factory=list)

    def add(self, outcome: str | None, feedback: float | None) -> None:
        """Count a trace."""
        self.count += 1
        self.successes += outcome == "success"
        if feedback is not None and math.isfinite(feedback):
            self.ratings.append(feedback)

    @property
    def composite(self) -> float:
        """Success rate and mean rating, weighted; in [0, 1] where ratings are.

        Example:
            >>> ModelScore(count=4, successes=3, ratings=[1.0]).composite, round(ModelScore(count=2, successes=2).composite, 9)
            (0.85, 0.8)
        """
        rating = sum(self.ratings) / len(self.ratings) if self.ratings else UNRATED
        return SUCCESS_WEIGHT * self.successes / self.count + FEEDBACK_WEIGHT * rating


class LearnedRouterPolicy(RouterPolicy, IntelligenceLearningPolicy):
    """The model with the best composite of the query's class, once the class has enough traces; else the default.

    It is safe to use from several threads. What it has learned is kept in memory; the service keeps its own in the log.

    Args:
        analyzer: of the store that `update_from_traces` reads.
        available_models: keys to choose from; none: any.
        default_model: for classes of which too little is known.
        fallback_model: where the default is not to be had.

    Attributes:
        min_samples: traces of a class from which on its model is chosen.
    """

    target: ClassVar[str] = "intelligence"

    def __init__(self, analyzer: TraceAnalyzer | None = None, *, available_models: Sequence[str] | None = None, default_model: str = "", fallback_model: str = "") -> None:
        self._analyzer = analyzer
        self._available = list(available_models or [])
        self._default, self._fallback = default_model, fallback_model
        self._map: dict[str, str] = {}
        self._confidence: dict[str, int] = {}
        self._observed: dict[str, dict[str, ModelScore]] = {}
        self._lock = threading.RLock()
        self.min_samples = MIN_SAMPLES

    @property
    def policy_map(self) -> dict[str, str]:
        """The model of every class, a copy."""
        with self._lock:
            return dict(self._map)

    def select_model(self, context: RoutingContext) -> str:
        """Return the key of a model; the empty string where there is none at all."""
        query_class = classify_query(context.query)
        with self._lock:
            learned, confidence = self._map.get(query_class), self._confidence.get(query_class, 0)
        if learned and confidence >= self.min_samples and self._is_available(learned):
            return learned
        for model in (self._default, self._fallback):
            if model and self._is_available(model):
                return model
        return self._available[0] if self._available else self._default

    def update_from_traces(self, *, since: float | None = None, until: float | None = None) -> dict[str, Any]:
        """Learn anew from the analyser's store, from the traces that started between two times, epoch seconds."""
        if self._analyzer is None:
            return {"error": "no analyzer: give one to the constructor"}
        bounds = {name: bound for name, bound in (("since", since), ("until", until)) if bound is not None}
        traces = list(self._analyzer._store.list_traces(limit=TRACES_MAX, **bounds))
        if not traces:
            return {"updated": False, "reason": "no traces"}
        groups = _by_class(trace for trace in traces if trace.model)
        changes = {}
        with self._lock:
            for query_class, models in groups.items():
                best, old = _best(models), self._map.get(query_class)
                if best != old:
                    changes[query_class] = {"old": old, "new": best}
                self._learn(query_class, best, models)
        return {"updated": True, "query_classes": len(groups), "total_traces": len(traces), "changes": changes}

    def observe(self, query: str, model: str, outcome: str | None, feedback: float | None) -> None:
        """Learn from one trace: the class's model is the one with the best composite of all that was observed, and stays where others are no better.

        A class whose traces all failed has none.
        """
        query_class = classify_query(query)
        with self._lock:
            models = self._observed.setdefault(query_class, {})
            models.setdefault(model, ModelScore()).add(outcome, feedback)
            self._confidence[query_class] = self._confidence.get(query_class, 0) + 1
            best, old = _best(models), self._map.get(query_class)
            incumbent = models.get(old) if old is not None else None
            if models[best].successes and (old is None or (incumbent is not None and models[best].composite > incumbent.composite)):
                self._map[query_class] = best

    def update(self, trace_store: Any, **kwargs: Any) -> dict[str, Any]:
        """Learn from a store: of each class the model with the best composite among those with enough traces."""
        try:
            traces = list(trace_store.list_traces(limit=TRACES_MAX))
        except Exception as exc:
            return {"updated": False, "reason": str(exc)}
        changes = {}
        with self._lock:
            for query_class, models in _by_class(traces, unnamed=UNKNOWN_MODEL).items():
                enough = {model: score for model, score in models.items() if score.count >= self.min_samples}
                if enough:
                    best = _best(enough)
                    if best != self._map.get(query_class):
                        changes[query_class] = best
                    self._learn(query_class, best, models)
            return {"updated": bool(changes), "changes": changes, "policy_map": dict(self._map)}

    def _learn(self, query_class: str, best: str, models: dict[str, ModelScore]) -> None:
        self._map[query_class] = best
        self._confidence[query_class] = sum(score.count for score in models.values())
        self._observed[query_class] = models

    def _is_available(self, model: str) -> bool:
        return not self._available or model in self._available


def _by_class(traces: Iterable[Trace], *, unnamed: str = "") -> dict[str, dict[str, ModelScore]]:
    groups: dict[str, dict[str, ModelScore]] = defaultdict(dict)
    for trace in traces:
        groups[classify_query(trace.query)].setdefault(trace.model or unnamed, ModelScore()).add(trace.outcome, trace.feedback)
    return groups


def _best(models: dict[str, ModelScore]) -> str:
    """Return the best model, of equal ones the first seen."""
    return max(models, key=lambda model: models[model].composite)
