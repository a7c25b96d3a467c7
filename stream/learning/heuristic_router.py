"""Choosing a model by rules over a query's context and the models' sizes, before anything is learned."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from stream.learning.contracts import RouterPolicy, RoutingContext
from stream.learning.registry import ModelRegistry

URGENT_ABOVE = 0.8
PLAIN_UP_TO, COMPLEX_FROM = 0.20, 0.55
"""Complexity scores up to which the smallest model does, and from which the largest is taken."""
CHARS_PER_TOKEN = 4
"""Of English text, about."""
_NAMED_SIZE = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)

Size = Callable[[str], float]
"""The size of a model by its key, in billions of parameters; 0 is unknown."""


class HeuristicRouter(RouterPolicy):
    """The seed's rules: urgent and plain queries to the smallest model, code to a coder, hard ones to the largest, all others to the default.

    Args:
        available_models: keys to choose from; none: all that are registered.
        default_model: for queries of no rule.
        fallback_model: where the default is not to be had.
    """

    def __init__(self, available_models: Sequence[str] | None = None, *, default_model: str = "", fallback_model: str = "") -> None:
        self._models = list(available_models or [])
        self._default, self._fallback = default_model, fallback_model

    @property
    def available_models(self) -> list[str]:
        """The keys to choose from, a copy."""
        return list(self._models)

    def select_model(self, context: RoutingContext) -> str:
        """Return the key of a model; the empty string where there is none at all."""
        return self._choose(context, self._candidates(), capacity=registered_size, price=registered_size)

    def _candidates(self) -> list[str]:
        return self._models or list(ModelRegistry.keys())

    def _choose(self, context: RoutingContext, candidates: Sequence[str], *, capacity: Size, price: Size) -> str:
        return choose(context, candidates, capacity=capacity, price=price, default=self._default, fallback=self._fallback)


class CapacityRouter(HeuristicRouter):
    """The same rules and arguments over better sizes.

    - A model that is not registered has the size in its name (`llama-3.1-8b`).
    - Small is what has few *active* parameters, which is what a token costs; large is what has many in all.
    - A model whose context is known to be too short for the query and its answer is not chosen while there is another.
    """

    def select_model(self, context: RoutingContext) -> str:
        """Return the key of a model; the empty string where there is none at all."""
        candidates = self._candidates()
        tokens = context.query_length / CHARS_PER_TOKEN + context.suggested_max_tokens
        fitting = [key for key in candidates if not _is_too_short(key, tokens)] or candidates
        return self._choose(context, fitting, capacity=total_size, price=active_size)


def choose(context: RoutingContext, candidates: Sequence[str], *, capacity: Size, price: Size, default: str, fallback: str) -> str:
    """Choose a model.

    1. Without candidates the default, else the fallback.
    2. An urgent query takes the smallest.
    3. Code takes the first model with `code` in its key, else the largest.
    4. A plain query takes the smallest.
    5. Mathematics, reasoning and complex queries take the largest.
    6. All others take the default, else the fallback, else the first.
    """
    if not candidates:
        return default or fallback  # 1
    if context.urgency > URGENT_ABOVE:
        return smallest(candidates, price)  # 2
    if context.has_code:
        return next((key for key in candidates if "code" in key.lower()), None) or largest(candidates, capacity)  # 3
    if context.complexity_score <= PLAIN_UP_TO:
        return smallest(candidates, price)  # 4
    if context.has_math or context.has_reasoning or context.complexity_score >= COMPLEX_FROM:
        return largest(candidates, capacity)  # 5
    return next((key for key in (default, fallback) if key in candidates), candidates[0])  # 6


def largest(candidates: Sequence[str], size: Size) -> str:
    """Return the largest; of equal ones the first."""
    return max(candidates, key=size)


def smallest(candidates: Sequence[str], size: Size) -> str:
    """Return the smallest of known size, of equal ones the first; where none is known, the first."""
    return min(candidates, key=lambda key: size(key) if size(key) > 0 else float("inf"))


def registered_size(key: str) -> float:
    """Return how many parameters a registered model has in all."""
    return ModelRegistry.get(key).parameter_count_b or 0.0 if ModelRegistry.contains(key) else 0.0


def total_size(key: str) -> float:
    """Return how many parameters a model has in all: as registered, else as its name says.

    Example:
        >>> total_size("llama-3.1-8b-instruct"), total_size("mixtral:8x7b"), total_size("gpt-4o")
        (8.0, 56.0, 0.0)
    """
    return registered_size(key) or _named_size(key)


def active_size(key: str) -> float:
    """Return how many parameters of a model a token uses: as registered, else all."""
    active = ModelRegistry.get(key).active_parameter_count_b if ModelRegistry.contains(key) else None
    return active or total_size(key)


def _named_size(key: str) -> float:
    found = _NAMED_SIZE.search(key)
    return 0.0 if found is None else int(found[1] or 1) * float(found[2])


def _is_too_short(key: str, tokens: float) -> bool:
    length = ModelRegistry.get(key).context_length if ModelRegistry.contains(key) else 0
    return 0 < (length or 0) < tokens
