"""Confidence: intervals that hold at whatever moment one looks, and the best arm once its draws prove it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from stream.routing.evidence import ClassEvidence, Tally
from stream.routing.stopping import PRIOR, Lead, lead, log_beta

METHOD = "beta-mixture, anytime-valid, all arms at once"
"""Named in every update; departures: under a half-life it holds at each moment, no longer at all of them together."""
LEAST_LOG = -700.0
"""A bound whose logarithm is below this is no longer told from 0 in a float."""
NEWTON_STEPS = 50
"""Far more than are taken: on a concave function the first step leads outside of the root, and all others up to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What can be said of a class's arms.

    Attributes:
        intervals: for each arm, where its mean lies; None where nothing was scored.
        best_arm: the arm whose draws prove it better than every other, or None.
        reason: why that arm, or why none.
    """

    intervals: Mapping[str, tuple[float, float] | None]
    best_arm: str | None
    reason: str


@lru_cache(maxsize=8192)
def interval(weight: float, total: float, alpha: float) -> tuple[float, float]:
    """Bound the mean of scores in [0, 1].

    The likelihood of a Bernoulli sequence, mixed over a Beta prior, divided by that at the true mean is a martingale (for
    scores between 0 and 1: at most one, since x -> r^x (…)^(1-x) is convex), so it ever reaches 1/alpha with chance alpha only.

    Args:
        weight: how many scores, each counting at most 1.
        total: their sum.
        alpha: chance, in (0, 1), that the interval ever misses the mean.

    Source:
        H. Robbins, Statistical methods related to the law of the iterated logarithm, 1970; S. Howard et al., Time-uniform,
        nonparametric, nonasymptotic confidence sequences, 2021, section 3.2.

    Example:
        >>> interval(0.0, 0.0, 0.05)
        (0.0, 1.0)
        >>> low, high = interval(1000.0, 700.0, 0.05)
        >>> 0.63 < low < 0.67 < 0.73 < high < 0.77
        True
    """
    successes, failures = min(max(total, 0.0), weight), max(weight - total, 0.0)
    least = log_beta(successes + PRIOR, failures + PRIOR) - log_beta(PRIOR, PRIOR) + math.log(alpha)
    return _lower(successes, failures, least), 1.0 - _lower(failures, successes, least)


def _lower(successes: float, failures: float, least: float) -> float:
    """The p below the mean at which s·log p + f·log(1 - p) falls to `least`, by Newton in log-odds; 0 where it never does."""
    if successes * LEAST_LOG >= least:
        return 0.0
    if failures <= 0.0:
        return math.exp(least / successes)
    odds = _guess(successes, failures, least)
    for _ in range(NEWTON_STEPS):
        short = least - _log_likelihood(successes, failures, odds)
        if abs(short) < 1e-11 * (1.0 + abs(least)):
            break
        odds += short / (successes - (successes + failures) / (1.0 + math.exp(-odds)))
    return 1.0 / (1.0 + math.exp(-odds))


def _guess(successes: float, failures: float, least: float) -> float:
    """Log-odds, below the mean's, at which the parabola through the greatest likelihood falls to `least`."""
    middle, count = math.log(successes / failures), successes + failures
    drop = _log_likelihood(successes, failures, middle) - least
    return max(middle - math.sqrt(2 * drop * count / (successes * failures)), LEAST_LOG)


def _log_likelihood(successes: float, failures: float, odds: float) -> float:
    """s·log p + f·log(1 - p), p being given by its log-odds."""
    return -successes * _softplus(-odds) - failures * _softplus(odds)


def _softplus(x: float) -> float:
    """log(1 + e^x), for any x."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def judge(evidence: ClassEvidence, alpha: float) -> Verdict:
    """Bound every arm's mean, and name the best one where its draws alone prove it.

    Every arm gets an equal part of alpha, so that all intervals hold together. The best arm is named by `stream.routing.stopping`,
    which compares arms pair by pair: a wrong one is ever named with chance at most alpha. Traces that no router drew widen no
    claim: they are in the intervals shown, never in the proof.
    """
    share = alpha / max(len(evidence.arms), 1)
    intervals = {arm.id: _interval_of(arm.believed, share) for arm in evidence.arms}
    found = lead(evidence, alpha)
    best = found.leader if found and found.is_proven else None
    return Verdict(intervals=intervals, best_arm=best, reason=_why(evidence, found))


def _interval_of(scores: Tally, alpha: float) -> tuple[float, float] | None:
    return interval(scores.weight, scores.total, alpha) if scores.weight > 0 else None


def _why(evidence: ClassEvidence, found: Lead | None) -> str:
    if len(evidence.arms) < 2:
        return "there are no two arms to compare"
    if found is None:
        return "no arm is proven best: no scored trace was drawn by a router"
    odds = f"its draws speak {found.odds:.3g} to 1 against {found.rival}"
    if found.is_proven:
        return f"{found.leader} is proven best: {odds}, the least of all, and {found.needed:g} to 1 is enough"
    return f"no arm is proven best yet: {found.leader} leads, but {odds}, where it takes {found.needed:g} to 1"
