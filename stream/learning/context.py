"""From a query to what a policy is told about it."""

from __future__ import annotations

from typing import Any

from stream.learning.contracts import QueryAnalyzer, RoutingContext
from stream.reading.complexity import adjust_tokens_for_model, score_complexity

URGENCY = 0.5


def build_routing_context(query: str, *, urgency: float = URGENCY, model: str | None = None) -> RoutingContext:
    """Make a context of a query.

    Args:
        query: its text.
        urgency: in [0, 1].
        model: that will answer, where it is known: a thinking one is given twice the tokens.
    """
    complexity = score_complexity(query)
    signals = complexity.signals
    return RoutingContext(
        query=query,
        query_length=len(query),
        has_code=signals["has_code"],
        has_math=signals["has_math"],
        has_reasoning=signals["has_reasoning"],
        urgency=urgency,
        complexity_score=complexity.score,
        suggested_max_tokens=adjust_tokens_for_model(complexity.suggested_max_tokens, model),
        metadata={"complexity_tier": complexity.tier, "signals": signals},
    )


class ComplexityQueryAnalyzer(QueryAnalyzer):
    """Makes a context by `build_routing_context`."""

    def analyze(self, query: str, **kwargs: Any) -> RoutingContext:
        """Return what is known of a query; an urgency that is no number is 0.5, a model that is no text is none."""
        urgency, model = kwargs.get("urgency", URGENCY), kwargs.get("model")
        return build_routing_context(
            query,
            urgency=urgency if isinstance(urgency, int | float) else URGENCY,
            model=model if isinstance(model, str) else None,
        )


class DefaultQueryAnalyzer(QueryAnalyzer):
    """Does the same under the seed's other name."""

    def analyze(self, query: str, **kwargs: Any) -> RoutingContext:
        """Return what is known of a query."""
        return ComplexityQueryAnalyzer().analyze(query, **kwargs)
