"""The treasury: keeps the prices by which ceilings are held, and moves them as money is spent."""

from __future__ import annotations

import math
from collections.abc import Mapping

from stream.records import RoutingUpdate
from stream.routing.book import Book
from stream.routing.ceilings import NO_PRICES, Burden, Prices, expected, moved, target
from stream.routing.contextual import ContextualModel
from stream.routing.evidence import ClassEvidence
from stream.routing.refinement import foreseen
from stream.routing.settings import RoutingSettings

INTERVAL_S = 0.2
"""Least time between two looks at what was spent: each may make every class due."""
WORTH_A_MOVE = 0.02
"""Relative change of a price that is worth deciding all classes anew."""
FAR = 1.5
"""Multiple of the target beyond which a price does not wait for news to rise on: at the foot of a cliff every request may cost twenty ceilings."""
CLIMBS = 4
"""Moves of a price for each news of its pool: some classes spend what they spend at any price."""


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
        self._moves: dict[str, int] = {}
        """How often the prices of a pool in which something came in may move: no other's do, since each look is a step and tenants' steps must be their own."""

    def of(self, query_class: str) -> Prices:
        """The prices that a class is charged."""
        return self.prices.get(self._settings.pool_of(query_class), NO_PRICES)

    def take_note(self, query_class: str) -> None:
        """Something came in of a class."""
        if self._is_needed:
            self._moves[self._settings.pool_of(query_class)] = CLIMBS

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
        for pool in [pool for pool in self._moves if now_s - self._looked_s.get(pool, -math.inf) >= self._interval_s]:
            left = self._moves.pop(pool) - 1
            if pool in self._expected:
                self._looked_s[pool] = now_s
                self.prices[pool], is_far = self._moved(pool)
                if is_far and left:
                    self._moves[pool] = left
        told = [pool for pool, prices in self.prices.items() if prices.differ(self._told.get(pool, NO_PRICES), WORTH_A_MOVE)]
        self._told |= {pool: self.prices[pool] for pool in told}
        return told

    def _moved(self, pool: str) -> tuple[Prices, bool]:
        """The prices after a step, and whether what is expected to be spent is still far beyond what is aimed at."""
        before, spent = self.prices.get(pool, NO_PRICES), self._expected_of(pool)
        cost, latency = self._book.accounts(pool)
        after = Prices(cost=moved(before.cost, spent.cost, *cost), latency=moved(before.latency, spent.latency, *latency))
        return after, spent.cost > FAR * target(*cost) or spent.latency > FAR * target(*latency)

    def _expected_of(self, pool: str) -> Burden:
        """What a request of all classes is expected to use up."""
        classes = self._expected[pool].values()
        requests = math.fsum(count for count, _ in classes)
        return Burden(math.fsum(count * burden.cost for count, burden in classes) / requests, math.fsum(count * burden.latency for count, burden in classes) / requests)
