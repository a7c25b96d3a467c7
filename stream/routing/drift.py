"""Drift: whether an arm's mean reward has changed, and since when; a function of its time buckets, so that everyone finds the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

FALSE_ALARM = 0.01
"""Chance that an arm of a class whose rewards do not change is ever taken for changed."""
LEAST_WEIGHT = 5.0
"""Scored traces on either side of a change, at least."""
EDGE = 1e-9


class Span(NamedTuple):
    """The scores of one bucket."""

    start_s: int
    weight: float
    total: float


def changed_since(spans: Sequence[Span]) -> int | None:
    """Find the start of the first bucket after the last change of the mean; None where it never changed.

    The generalised likelihood ratio of two means against one, of Bernoulli scores (an upper bound for scores between 0 and 1), at
    every place between two buckets, against a threshold that holds for all places and times together.

    Args:
        spans: in the order of time.

    Source: L. Besson, E. Kaufmann, O.-A. Maillard, J. Seznec, Efficient change-point detection for tackling piecewise-stationary
    bandits, JMLR 23 (2022), with the threshold log(3 n √n / δ) of their experiments. Departure: places between buckets only.

    Example:
        >>> good, bad = [Span(60 * minute, 10.0, 9.0) for minute in range(20)], [Span(60 * minute, 10.0, 5.0) for minute in range(20, 24)]
        >>> changed_since(good), changed_since(good + bad)
        (None, 1200)
    """
    found: int | None = None
    while (place := _place_of_change(spans)) is not None:
        spans = spans[place:]
        found = spans[0].start_s
    return found


def _place_of_change(spans: Sequence[Span]) -> int | None:
    weight, total = math.fsum(span.weight for span in spans), math.fsum(span.total for span in spans)
    if weight < 2 * LEAST_WEIGHT:
        return None
    together = _likelihood(total, weight)
    best, at, before, scored = math.log(3.0 * weight**1.5 / FALSE_ALARM), None, 0.0, 0.0
    for place, span in enumerate(spans[:-1], start=1):
        before, scored = before + span.weight, scored + span.total
        if before < LEAST_WEIGHT or weight - before < LEAST_WEIGHT:
            continue
        ratio = _likelihood(scored, before) + _likelihood(total - scored, weight - before) - together
        if ratio > best:
            best, at = ratio, place
    return at


def _likelihood(total: float, weight: float) -> float:
    """The logarithm of the greatest Bernoulli likelihood of so many traces with this sum of scores."""
    mean = min(max(total / weight, EDGE), 1.0 - EDGE)
    return weight * (mean * math.log(mean) + (1.0 - mean) * math.log1p(-mean))
