"""The UCB policy: the arm whose mean may be the greatest."""

from __future__ import annotations

import math

from stream.routing.evidence import ClassEvidence
from stream.routing.heuristic import charged, cold_start, is_cold, to_the_greatest
from stream.routing.registry import Decided
from stream.routing.settings import RoutingSettings

BISECTIONS = 40
"""Halvings of [mean, 1]: to a millionth of a millionth."""


class UpperConfidence:
    """The arm with the greatest upper confidence bound of its mean (KL-UCB) takes all that the exploration share leaves; equal ones divide it.

    Source: A. Garivier and O. Cappé, The KL-UCB algorithm for bounded stochastic bandits and beyond, COLT 2011, with c = 0 as they advise.
    Departures: traces of other classes enter with capped weight, older traces weigh less (so does the number of rounds), and a cold
    class goes half to the default arm.
    """

    explores = True

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        scores = {arm.id: arm.believed.plus(arm.prior) for arm in evidence.arms}
        rounds = sum(tally.weight for tally in scores.values())
        bounds = {arm.id: upper_bound(scores[arm.id].weight, scores[arm.id].total, rounds) - arm.toll for arm in evidence.arms}
        shares, best = to_the_greatest(bounds)
        if is_cold(evidence, settings):
            return cold_start(evidence, settings, shares)
        return Decided(probabilities=shares, reason=f"the mean of {best} may be as great as {max(bounds.values()):.3f}{charged(evidence)}")


def upper_bound(weight: float, total: float, rounds: float) -> float:
    """Return the greatest mean that an arm's scores, each in [0, 1], leave possible after so many rounds.

    Args:
        weight: how many scores.
        total: their sum.
        rounds: scores of all arms.

    Example:
        >>> upper_bound(0.0, 0.0, 10.0), upper_bound(5.0, 2.0, 1.0)
        (1.0, 0.4)
        >>> round(upper_bound(10.0, 4.0, 100.0), 4)   # .4 log(.4/q) + .6 log(.6/(1 - q)) = log(100)/10
        0.8286
    """
    if weight <= 0.0:
        return 1.0
    mean = min(max(total / weight, 0.0), 1.0)
    allowed = math.log(max(rounds, 1.0)) / weight
    low, high = mean, 1.0
    if _divergence(mean, high) <= allowed:
        return high
    for _ in range(BISECTIONS if allowed else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if _divergence(mean, middle) <= allowed else (low, middle)
    return low


def _divergence(p: float, q: float) -> float:
    """Kullback and Leibler's divergence between two Bernoulli distributions, p at most q."""
    return _term(p, q) + _term(1.0 - p, 1.0 - q)


def _term(p: float, q: float) -> float:
    return 0.0 if p <= 0.0 else math.inf if q <= 0.0 else p * math.log(p / q)
