"""Windows over the buckets of totals, in the log's time: tumbling ones that a test compares, and one that hops on with every minute, for how things are now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stream.fold.totals import MICRO, MINUTE_S, WIDTHS_S
from stream.learning.triggers.watching import Course
from stream.routing.drift import Span

COUNT, SCORED, TOTAL, SQUARES, GOOD = range(5)
"""Places in a tally."""
NONE = (0, 0, 0)


Counts = Mapping[int, tuple[int, int, int]]
"""By width, in seconds: what had been counted of traces, scores and good scores in the minute, hour and day of a moment, up to it."""


def counted(course: Course, at_s: float) -> Counts:
    """Count what there is until now in the minute, the hour and the day of a moment.

    Whoever counts from that moment on can take it out of the bucket that the moment lies in, however wide that is by then.
    """
    starts = {width_s: at_s // width_s * width_s for width_s in WIDTHS_S}
    tallies = {width_s: [tally for (_, start_s), tally in course.buckets.items() if start_s >= start] for width_s, start in starts.items()}
    return {width_s: (_sum(found, COUNT), _sum(found, SCORED), _sum(found, GOOD)) for width_s, found in tallies.items()}


def since(course: Course, since_s: float, before: Counts | None = None) -> tuple[int, int, int]:
    """Count traces, scores and good scores in the tumbling window that began at a time and is open still.

    Args:
        course: by time.
        since_s: when it began, epoch seconds.
        before: what was counted at that time; where it is not known, of a bucket that began before it the part counts that lies after it.

    Example:
        >>> course = Course()
        >>> course.buckets = {(60, 0): (10, 0, 0, 0, 0), (60, 60): (10, 0, 0, 0, 0)}
        >>> since(course, 30.0), since(course, 30.0, {60: (9, 0, 0)})     # half of the first, or one of it; all of the second
        ((15, 0, 0), (11, 0, 0))
    """
    found = [0.0, 0.0, 0.0]
    for (width_s, start_s), tally in course.buckets.items():
        if start_s + width_s <= since_s:
            continue
        for number, place in enumerate((COUNT, SCORED, GOOD)):
            if start_s >= since_s:
                found[number] += tally[place]
            elif before is None:
                found[number] += tally[place] * (start_s + width_s - since_s) / width_s
            else:
                found[number] += max(tally[place] - before.get(width_s, NONE)[number], 0)
    traces, scored, good = map(math.floor, found)
    return traces, scored, good


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


def _sum(tallies: Sequence[tuple[int, ...]], place: int) -> int:
    return sum(tally[place] for tally in tallies)
