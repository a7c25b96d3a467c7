"""Windows over the buckets of totals, in the log's time: tumbling ones that a test compares, and one that hops on with every minute, for how things are now."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stream.fold.totals import MICRO, MINUTE_S
from stream.learning.triggers.watching import Course
from stream.routing.drift import Span

COUNT, SCORED, TOTAL, SQUARES, GOOD = range(5)
"""Places in a tally."""


def since(course: Course, place: int, since_s: float) -> int:
    """Count in the tumbling window that began at a time and is open still; of a bucket that began before it, the part that lies after it.

    Example:
        >>> course = Course()
        >>> course.buckets = {(60, 0): (10, 0, 0, 0, 0), (60, 60): (10, 0, 0, 0, 0)}
        >>> since(course, COUNT, 30.0)     # half of the first, all of the second
        15
    """
    parts = ((min(max(start_s + width_s - since_s, 0.0) / width_s, 1.0), tally[place]) for (width_s, start_s), tally in course.buckets.items() if start_s + width_s > since_s)
    return math.floor(math.fsum(part * count for part, count in parts))


def tumbling(course: Course, until_s: float) -> list[Span]:
    """Cut the scores into windows that follow each other: the minutes, hours and days that totals are kept in, but for the minute that is not over."""
    by_start: dict[int, list[tuple[int, ...]]] = {}
    for (_, start_s), tally in course.buckets.items():
        if start_s + MINUTE_S <= until_s and tally[SCORED]:
            by_start.setdefault(start_s, []).append(tally)
    return [Span(start_s, float(_sum(found, SCORED)), _sum(found, TOTAL) / MICRO, _sum(found, SQUARES) / MICRO**2) for start_s, found in sorted(by_start.items())]


def hopping(windows: Sequence[Span], width_s: float, end_s: float) -> list[Span]:
    """Return the tumbling windows that lie in the last seconds before a time: a longer window, which hops on with each shorter one.

    Example:
        >>> minutes = [Span(60 * number, 1.0, 1.0, 1.0) for number in range(10)]
        >>> [span.start_s for span in hopping(minutes, 180.0, 600.0)]
        [420, 480, 540]
    """
    return [span for span in windows if span.start_s >= end_s - width_s]


def mean(windows: Sequence[Span]) -> float | None:
    """Mean score over windows; None where there is none in them."""
    weight = math.fsum(span.weight for span in windows)
    return math.fsum(span.total for span in windows) / weight if weight else None


def _sum(tallies: list[tuple[int, ...]], place: int) -> int:
    return sum(tally[place] for tally in tallies)
