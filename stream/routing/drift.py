"""Drift: whether an arm's mean reward has changed, and since when; a function of its time buckets, so that everyone finds the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

FALSE_ALARM = 0.01
"""Chance that an arm of a class whose rewards do not change is ever taken for changed."""
LEAST_WEIGHT = 5.0
"""Scored traces on either side of a change, at least."""
VAGUE = 2.0
"""Traces' worth of the greatest variance there is, added to what graded scores scatter by: few that happen to be alike do not make the next one a change."""


class Span(NamedTuple):
    """The scores of one bucket: how many, their sum, and that of their squares."""

    start_s: int
    weight: float
    total: float
    squares: float


def changed_since(spans: Sequence[Span], false_alarm: float = FALSE_ALARM) -> int | None:
    """Find the start of the first bucket after the last change of the mean; None where it never changed.

    The generalised likelihood ratio of two success rates against one, at every place between two buckets, against a threshold for all places
    and times together. Scores that lie between 0 and 1 scatter less than successes and failures do, and count for as much more.

    Args:
        spans: in the order of time.
        false_alarm: chance, in (0, 1), that one is ever found where there is none.

    Source: L. Besson, E. Kaufmann, O.-A. Maillard, J. Seznec, Efficient change-point detection for tackling piecewise-stationary
    bandits, JMLR 23 (2022), with the threshold log(3 n √n / δ) of their experiments. Departures: places between buckets only, and 1/3 instead of
    3, with which 3 of 1,200 histories of 600 traces alarm; graded scores by quasi-likelihood (R. Wedderburn, Biometrika 1974).

    Example:
        >>> good, bad = [Span(60 * minute, 10.0, 9.0, 9.0) for minute in range(20)], [Span(60 * minute, 10.0, 5.0, 5.0) for minute in range(20, 24)]
        >>> changed_since(good), changed_since(good + bad)
        (None, 1200)
    """
    found: int | None = None
    while (place := _place_of_change(spans, false_alarm)) is not None:
        spans = spans[place:]
        found = spans[0].start_s
    return found


def _place_of_change(spans: Sequence[Span], false_alarm: float) -> int | None:
    weight, total, squares = (math.fsum(each) for each in zip(*((span.weight, span.total, span.squares) for span in spans), strict=True)) if spans else (0.0, 0.0, 0.0)
    if weight < 2 * LEAST_WEIGHT:
        return None
    mean = total / weight
    if not 0.0 < mean < 1.0:
        return None
    dispersion = (max(squares - total * mean, 0.0) + VAGUE * 0.25) / (weight * mean * (1.0 - mean) + VAGUE * 0.25)
    best, at, before, scored = math.log(weight**1.5 / (3.0 * false_alarm)), None, 0.0, 0.0
    for place, span in enumerate(spans[:-1], start=1):
        before, scored, after = before + span.weight, scored + span.total, weight - before - span.weight
        if before < LEAST_WEIGHT or after < LEAST_WEIGHT:
            continue
        ratio = (before * _divergence(scored / before, mean) + after * _divergence((total - scored) / after, mean)) / dispersion
        if ratio > best:
            best, at = ratio, place
    return at


def _divergence(rate: float, mean: float) -> float:
    """Kullback and Leibler's divergence of a success rate from another one that is neither 0 nor 1; a rate outside of [0, 1] by rounding counts as the bound."""
    successes = rate * math.log(rate / mean) if rate > 0.0 else 0.0
    failures = (1.0 - rate) * math.log((1.0 - rate) / (1.0 - mean)) if rate < 1.0 else 0.0
    return successes + failures
