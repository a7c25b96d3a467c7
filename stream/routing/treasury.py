"""The treasury: keeps the prices by which ceilings are held, and moves them as money is spent."""

from __future__ import annotations

import math
from collections.abc import Mapping

from stream.records import RoutingUpdate
from stream.routing.book import Book
from stream.routing.ceilings import NO_PRICES, Burden, Prices, expected, moved
from stream.routing.contextual import ContextualModel, foreseen
from stream.routing.evidence import ClassEvidence
from stream.routing.settings import RoutingSettings

INTERVAL_S = 0.2
"""Least time between two looks at what was spent: each may make every class due."""
WORTH_A_MOVE = 0.02
"""Relative change of a price that is worth deciding all classes anew."""


class Treasury:
    """The prices of every pool, and what each of its classes is expected to use up at them.

    Args:
        settings: with the ceilings.
        book: in which it is written what was spent.
        prices: of each pool, as they stood last.
        interval_s: between two looks at one pool.

    Attributes:
        prices: of each pool, as they stand.
    """

    def __init__(self, settings: RoutingSettings, book: Book, prices: Mapping[str, Prices], *, interval_s: float = INTERVAL_S) -> None:
        self._settings, self._book, self._interval_s = settings, book, interval_s
        self._is_needed = settings.max_cost_usd is not None or settings.max_latency_s is not None
        self.prices = dict(prices) if self._is_needed else {}
        self._told = dict(self.prices)
        self._expected: dict[str, dict[str, tuple[float, Burden]]] = {}
        self._looked_s: dict[str, float] = {}
        self._news: set[str] = set()
        """Pools in which something came in: no other's prices move, since each look is a step and tenants' steps must be their own."""

    def of(self, query_class: str) -> Prices:
        """The prices that a class is charged."""
        return self.prices.get(self._settings.pool_of(query_class), NO_PRICES)

    def take_note(self, query_class: str) -> None:
        """Something came in of a class."""
        if self._is_needed:
            self._news.add(self._settings.pool_of(query_class))

    def expect(self, evidence: ClassEvidence, update: RoutingUpdate, model: ContextualModel) -> None:
        """Note what a class is expected to use up, decided so, where routers refine it by a model."""
        name, pool = evidence.query_class, self._settings.pool_of(evidence.query_class)
        if self._is_needed and name != pool and evidence.arms:
            burden = expected(evidence, foreseen(update, model), self._settings)
            self._expected.setdefault(pool, {})[name] = (max(evidence.count, 1), burden)

    def forget(self, query_class: str) -> None:
        """Leave a class out from now on."""
        pool = self._settings.pool_of(query_class)
        classes = self._expected.get(pool, {})
        classes.pop(query_class, None)
        if not classes:
            self._expected.pop(pool, None)
            self.prices.pop(pool, None)
            self._looked_s.pop(pool, None)

    def look(self, now_s: float) -> list[str]:
        """Move the prices where something was spent and it is time.

        Returns:
            The pools whose prices are no longer those that their classes were last decided with.
        """
        due = [pool for pool in self._news if now_s - self._looked_s.get(pool, -math.inf) >= self._interval_s]
        self._news.difference_update(due)
        for pool in self._expected.keys() & due:
            self._looked_s[pool] = now_s
            self.prices[pool] = self._moved(pool, list(self._expected[pool].values()))
        told = [pool for pool, prices in self.prices.items() if prices.differ(self._told.get(pool, NO_PRICES), WORTH_A_MOVE)]
        self._told |= {pool: self.prices[pool] for pool in told}
        return told

    def _moved(self, pool: str, classes: list[tuple[float, Burden]]) -> Prices:
        requests, before = math.fsum(count for count, _ in classes), self.prices.get(pool, NO_PRICES)
        cost, latency = self._book.accounts(pool)
        expected_cost = math.fsum(count * burden.cost for count, burden in classes) / requests
        expected_latency = math.fsum(count * burden.latency for count, burden in classes) / requests
        return Prices(cost=moved(before.cost, expected_cost, *cost), latency=moved(before.latency, expected_latency, *latency))
