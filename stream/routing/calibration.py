"""Calibration: on which scale each source of scores is read, learned from traces that a person has rated too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum
from typing import NamedTuple, TypeAlias

from stream.fold.pairs import DAY_S, PairRow
from stream.fold.totals import MICRO, Sum

PRIOR_TRACES = 20.0
"""Doubly rated traces that must speak for a line before it outweighs the belief that both raters mean the same."""
SPREAD = 1 / 12
"""Variance of scores that the belief in a slope of 1 stands on: that of scores spread evenly over [0, 1]."""


GRID = 256
"""Levels and slopes are multiples of one part in so many: all evidence is weighed anew when one changes, and a new rating then seldom does it."""


class Line(NamedTuple):
    """What a person would have said, for what a source said: `level + slope * score`, which maps [0, 1] into itself.

    Attributes:
        level: at a score of 0, in [0, 1].
        slope: in [0, 1].
    """

    level: float = 0.0
    slope: float = 1.0

    @property
    def is_identity(self) -> bool:
        """Whether every score stays what it is."""
        return self.level == 0.0 and self.slope == 1.0

    def of(self, weight: float, total: float, squares: float) -> tuple[float, float, float]:
        """Map scores by their sums: how many they are, their sum and that of their squares. It is exact, since the map is linear.

        Example:
            >>> Line(0.25, 0.5).of(2, 1, 1)  # 0 and 1 become .25 and .75
            (2, 1.0, 0.625)
        """
        level, slope = self.level, self.slope
        return weight, level * weight + slope * total, level * level * weight + 2 * level * slope * total + slope * slope * squares


IDENTITY = Line()
Scales: TypeAlias = tuple[tuple[int, Line], ...]
"""The sources whose scores count, by their place in the sums, and the scale of each."""
AS_GIVEN: Scales = tuple((int(source), IDENTITY) for source in (Sum.HUMAN, Sum.JUDGE, Sum.PROGRAM, Sum.OUTCOME))
"""Quality, every source taken at its word."""
REWARD_ALONE: Scales = ((int(Sum.REWARD), IDENTITY),)


class Moments(NamedTuple):
    """Of traces rated by both, weighted: how many, and sums over the person's score, the source's, their product and the source's square."""

    traces: float
    human: float
    other: float
    product: float
    other_squared: float


def fit(pairs: Moments) -> Line:
    """Fit a source's scale to people's.

    Least squares of the difference `human - other` on the source's score, level and slope each drawn to 0 as if `PRIOR_TRACES`
    more traces, spread by `SPREAD`, had shown none. The slope then is held in [0, the greatest at which no score leaves [0, 1]]: the line
    is monotone, passes through the means (the source's, and people's as far as believed; to half a part of `GRID`), and calibrated scores are scores.

    Example:
        >>> fit(Moments(0, 0, 0, 0, 0))
        Line(level=0.0, slope=1.0)
        >>> fit(Moments(20, 10, 20, 10, 20))  # a source that always says 1, where people say .5: half of the difference is believed
        Line(level=0.0, slope=0.75)

    Source:
        Ridge regression (Hoerl and Kennard 1970), centred so that level and slope are shrunk apart.
    """
    if pairs.traces <= 0:
        return IDENTITY
    n = pairs.traces
    middle, shift = pairs.other / n, (pairs.human - pairs.other) / (n + PRIOR_TRACES)
    spread = max(pairs.other_squared - pairs.other * middle, 0.0)
    together = pairs.product - pairs.human * middle
    at_middle = min(max(middle + shift, 0.0), 1.0)
    slope = 1.0 + (together - spread) / (spread + PRIOR_TRACES * SPREAD)
    slope = _on_grid(max(0.0, min(slope, *_steepest(middle, at_middle))))
    return Line(min(max(_on_grid(at_middle - slope * middle), 0.0), 1.0 - slope), slope)


def _on_grid(value: float) -> float:
    return round(value * GRID) / GRID


def _steepest(middle: float, at_middle: float) -> tuple[float, ...]:
    """Slopes at which a line through (middle, at_middle) leaves [0, 1] on the left, and on the right."""
    left = (at_middle / middle,) if middle > 0.0 else ()
    right = ((1.0 - at_middle) / (1.0 - middle),) if middle < 1.0 else ()
    return (1.0, *left, *right)


def lines_of(scored: Iterable[Mapping[str, float]]) -> dict[str, Line]:
    """Fit the scale of every source to people's, from what several sources say of each of some traces, the one that counts first.

    Args:
        scored: of each trace the scores by source, in [0, 1].
    """
    moments: dict[str, list[float]] = {}
    for scores in scored:
        source, score = next(iter(scores.items()), ("", 0.0))
        for other, said in scores.items() if source == "human" else ():
            if other != source:
                sums = moments.setdefault(other, [0.0] * 5)
                for place, amount in enumerate((1.0, score, said, score * said, said * said)):
                    sums[place] += amount
    return {source: fit(Moments(*sums)) for source, sums in moments.items()}


def calibrate(rows: Iterable[PairRow], weight: Callable[[int, int], float | None]) -> Scales:
    """Fit the scale of every source to people's, over all classes and arms, drawn or not: it is about raters.

    Args:
        rows: of all partitions, in any order.
        weight: what a trace weighs by the width and start, in seconds, of its bucket; None where that is retired.
    """
    by_source: dict[int, list[tuple[float, PairRow]]] = {}
    for row in rows:
        if (weighs := weight(DAY_S, row[0])) is not None:
            by_source.setdefault(_place(row[1]), []).append((weighs, row[2:]))
    return tuple((place, fit(_moments(by_source[place])) if place in by_source else line) for place, line in AS_GIVEN)


def _place(source: int) -> int:
    """The place in the sums of a source of the pairs: each takes three of them."""
    return int(Sum.HUMAN) + 3 * source


def _moments(weighed: Sequence[tuple[float, PairRow]]) -> Moments:
    traces, human, other, product, squared = (fsum(weighs * sums[place] for weighs, sums in weighed) for place in range(5))
    return Moments(traces, human / MICRO, other / MICRO, product / MICRO**2, squared / MICRO**2)
