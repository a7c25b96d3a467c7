"""Ceilings: what a request may cost and how long it may take on average, held by prices that every arm's mean reward is charged with.

Pure: the desk brings what was spent, and keeps the prices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter, mul
from typing import NamedTuple

import msgspec

from stream.fold.totals import MINUTE_S
from stream.routing.evidence import ArmEvidence, ClassEvidence, Quantity
from stream.routing.settings import RoutingSettings

UNKNOWN_MULTIPLE = 1.0
"""An arm of which a quantity is not known counts as so many ceilings: never for free, and never so dear that it is not tried."""
REPAY_REQUESTS = 100
"""A debt is paid back over so many requests, or over a minute's where there are more: sooner, one dear draw would drive out good arms."""
AIM, LEAST_TARGET = 0.98, 0.1
"""Parts of the ceiling that are aimed at: where nothing is owed, and however much is."""
MAX_DEBT = 10.0
"""Debt, in multiples of what is paid back at a time, beyond which no more is remembered: an import of old, dear traces is not paid off for weeks."""
CREDIT_REQUESTS = 10.0
"""Requests' worth of what was not spent that count against what is spent later. It is not aimed at spending them: they bear single dear draws."""
STEP = 0.1
"""Relative change of a price, at one look, where twice the target would be spent. Replays on public data differed little between .05 and .2."""
LEAST_PRICE = 0.005
"""Reward per ceiling from which a price grows: steps from 0 to it are linear. Coarser ones leap over prices at which a far dearer arm is drawn now and then."""
GREATEST_PRICE = 1e6
"""At this price one millionth of a ceiling outweighs the whole range of rewards."""


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Reward that one ceiling's worth of a quantity is charged with; 0 where there is no ceiling or it does not bind."""

    cost: float = 0.0
    latency: float = 0.0

    def differ(self, others: Prices, least: float) -> bool:
        """Whether one of them differs by more than `least` of what it was."""
        return any(abs(ours - theirs) > least * max(theirs, LEAST_PRICE) for ours, theirs in ((self.cost, others.cost), (self.latency, others.latency)))


NO_PRICES = Prices()


class Spending(NamedTuple):
    """Requests of which a quantity is known, and what they came to, as a multiple of the ceiling."""

    requests: float = 0.0
    multiple: float = 0.0


class Account(NamedTuple):
    """What the requests of all classes came to, by one quantity.

    Attributes:
        owed: see `debt`.
        repay_requests: over which it is paid back.
    """

    owed: float = 0.0
    repay_requests: float = REPAY_REQUESTS

    @classmethod
    def of(cls, spent: Mapping[tuple[int, ...], Sequence[int]], column: int, ceiling: float) -> Account:
        """Go through what was spent.

        Args:
            spent: by bucket (width and start, in seconds, first).
            column: of the requests of which the quantity is known; the next one is its sum.
            ceiling: in the unit of the sums, above 0.
        """
        busiest = max((amounts[column] for bucket, amounts in spent.items() if bucket[0] == MINUTE_S), default=0)
        repay_requests = max(float(REPAY_REQUESTS), float(busiest))
        in_time = sorted(spent, key=itemgetter(1))
        spendings = [Spending(spent[bucket][column], spent[bucket][column + 1] / ceiling) for bucket in in_time]
        return cls(debt(spendings, repay_requests), repay_requests)


class Burden(NamedTuple):
    """What a request is expected to cost and to take, as multiples of the ceilings; 0 where there is none."""

    cost: float = 0.0
    latency: float = 0.0


def charge(evidence: ClassEvidence, prices: Prices, settings: RoutingSettings) -> ClassEvidence:
    """Say for every arm what it is expected to use up of the ceilings, and what that is charged with.

    An arm whose cost or latency is not known is never taken for free: it counts as using up the whole ceiling.

    Args:
        evidence: of the class.
        prices: as they stand.
        settings: with the ceilings; without any the evidence is returned as it is.
    """
    if settings.max_cost_usd is None and settings.max_latency_s is None:
        return evidence
    return replace(evidence, arms=tuple(_charged(arm, burden, prices) for arm, burden in zip(evidence.arms, burdens(evidence, settings), strict=True)))


def burdens(evidence: ClassEvidence, settings: RoutingSettings) -> list[Burden]:
    """What a request of each arm is expected to use up."""
    costs = _multiples([arm.recent_cost_usd for arm in evidence.arms], settings.max_cost_usd)
    latencies = _multiples([arm.recent_latency_s for arm in evidence.arms], settings.max_latency_s)
    return list(map(Burden, costs, latencies))


def _charged(arm: ArmEvidence, burden: Burden, prices: Prices) -> ArmEvidence:
    return replace(arm, burden=max(burden), toll=prices.cost * burden.cost + prices.latency * burden.latency)


def _multiples(quantities: Iterable[Quantity], ceiling: float | None) -> list[float]:
    if ceiling is None:
        return [0.0 for _ in quantities]
    return [UNKNOWN_MULTIPLE if (mean := quantity.mean) is None else mean / ceiling for quantity in quantities]


def expected(evidence: ClassEvidence, probabilities: Mapping[str, float], settings: RoutingSettings) -> Burden:
    """What a request of the class is expected to use up, by the probabilities that its arms are drawn with."""
    shares = [probabilities.get(arm.id, 0.0) for arm in evidence.arms]
    costs, latencies = zip(*burdens(evidence, settings), strict=True)
    return Burden(_dot(shares, costs), _dot(shares, latencies))


def _dot(shares: Sequence[float], uses: Sequence[float]) -> float:
    return math.fsum(map(mul, shares, uses))


def debt(spendings: Iterable[Spending], repay_requests: float) -> float:
    """What was spent above the ceiling and not yet paid back, in requests' worth of the ceiling.

    What is spent less counts against what was spent more before it, never (but for `CREDIT_REQUESTS`) against what is spent after.

    Args:
        spendings: in the order of time, as finely as they are known.
        repay_requests: over which a debt is paid back.

    Example:
        >>> debt([Spending(10, 30.0), Spending(10, 5.0)], 100)   # twenty too much, then five less
        15.0
        >>> debt([Spending(40, 0.0), Spending(10, 30.0)], 100)   # of forty not spent, ten are kept
        10.0
    """
    owed, most = 0.0, MAX_DEBT * repay_requests
    for requests, multiple in spendings:
        owed = min(max(owed + multiple - requests, -CREDIT_REQUESTS), most)
    return owed


def target(owed: float, repay_requests: float) -> float:
    """What a request may be expected to spend, as a multiple of the ceiling: less while a debt is paid back.

    Example:
        >>> round(target(30.0, 100), 9), target(-20.0, 100)
        (0.68, 0.98)
    """
    return max(AIM - max(owed, 0.0) / repay_requests, LEAST_TARGET)


def moved(price: float, expected_multiple: float, owed: float, repay_requests: float) -> float:
    """Move a price towards the one at which what is expected to be spent is the ceiling, less what is paid back.

    Dual ascent with a step relative to the price, on the expectation and not on single requests, which may cost fifty ceilings.
    It is called about once for every request or, where there are many, every look.

    Args:
        price: reward per ceiling, 0 or more.
        expected_multiple: of a request at this price.
        owed: of `debt`.
        repay_requests: over which it is paid back.

    Source: S. Agrawal and N. R. Devanur, Bandits with concave rewards and convex knapsacks, EC 2014, for the dual view.

    Example:
        >>> round(moved(0.05, 2.0, 0.0, 100), 4), moved(0.0, 0.5, 0.0, 100)
        (0.0555, 0.0)
    """
    excess = min(max(expected_multiple / target(owed, repay_requests) - 1.0, -1.0), 1.0)
    return min(max(price + STEP * (price + LEAST_PRICE) * excess, 0.0), GREATEST_PRICE)
