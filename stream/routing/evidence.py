"""Evidence: what all partitions together say of a class, per routed arm, each trace weighted by its age."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from operator import add
from typing import NamedTuple

from stream.fold.totals import MICRO, SUMS, Sum
from stream.records import OVERFLOW, Arm, PartitionStatistics
from stream.routing.settings import RoutingSettings, project

NANO_USD, MS = 1e-9, 1e-3
MINUTE_MS = 60_000
SOURCES = ("human", "judge", "program", "outcome")
_FIRST_SUM = 3
"""A row begins with width, start and drawn."""
_COST, _LATENCY = _FIRST_SUM + Sum.COST_KNOWN, _FIRST_SUM + Sum.LATENCY_KNOWN
_SCORED, _TOTALS, _SQUARES = (slice(_FIRST_SUM + place, _FIRST_SUM + SUMS, 3) for place in (Sum.HUMAN, Sum.HUMAN_MICRO, Sum.HUMAN_MICRO_SQ))
"""In a row, the four sources' scored traces, sums and squares: three columns each, the last of all sums."""


class Tally(NamedTuple):
    """Scores, each weighted by its age.

    Attributes:
        weight: the scored traces.
        total: the sum of their scores, in [0, weight].
        squares: the sum of the squares of their scores, in [0, total].
    """

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.weight + other.weight, self.total + other.total, self.squares + other.squares)

    def minus(self, other: Tally) -> Tally:
        """What is left without `other`, never below nothing."""
        return Tally(*(max(mine - theirs, 0.0) for mine, theirs in zip(self, other, strict=True)))

    def capped(self, most: float) -> Tally:
        """The same scores, weighing no more than `most` traces together."""
        share = min(1.0, most / self.weight) if self.weight > 0 else 0.0
        return Tally(self.weight * share, self.total * share, self.squares * share)

    @property
    def mean(self) -> float | None:
        """Mean score in [0, 1], or None where nothing was scored."""
        return min(max(self.total / self.weight, 0.0), 1.0) if self.weight > 0 else None


class Quantity(NamedTuple):
    """A cost or a latency over the traces where it is known; unknown is never free."""

    weight: float = 0.0
    total: float = 0.0

    @property
    def mean(self) -> float | None:
        """Mean over the traces where it is known, or None where it never is."""
        return self.total / self.weight if self.weight > 0 else None


NO_SCORES, UNKNOWN = Tally(), Quantity()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEvidence:
    """What is known of one routed arm in one class.

    Attributes:
        drawn: scores of traces whose arm a router drew with a known probability.
        confounded: scores of the other traces: whoever chose their arm may have known why.
        prior: what the arm's traces in other classes say, already capped.
        graded: whether any score lies strictly between 0 and 1.
        count: traces, of any age that is kept.
        drawn_count: those of them that a router drew.
        by_source: scored traces by `SOURCES`; each counts under the best source it has.
        cost_usd: dollars a trace.
        latency_s: seconds a trace.
    """

    arm: Arm
    id: str
    drawn: Tally = NO_SCORES
    confounded: Tally = NO_SCORES
    prior: Tally = NO_SCORES
    graded: bool = False
    count: int = 0
    drawn_count: int = 0
    by_source: tuple[int, ...] = (0, 0, 0, 0)
    cost_usd: Quantity = UNKNOWN
    latency_s: Quantity = UNKNOWN
    confounded_cap: float = math.inf

    @property
    def rated_count(self) -> int:
        """Traces with a score from any source."""
        return sum(self.by_source)

    @property
    def believed(self) -> Tally:
        """What the arm is judged by: its draws, and the others with capped weight."""
        return self.drawn.plus(self.confounded.capped(self.confounded_cap))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEvidence:
    """What is known of one class: its arms, ordered by id."""

    query_class: str
    arms: tuple[ArmEvidence, ...] = ()
    log_time_ms: int = 0

    @property
    def rated_count(self) -> int:
        """Traces of the class with a score from any source."""
        return sum(arm.rated_count for arm in self.arms)

    @property
    def count(self) -> int:
        """Traces of the class."""
        return sum(arm.count for arm in self.arms)

    def of(self, arm_id: str) -> ArmEvidence | None:
        """The evidence of one arm, or None where the class does not know it."""
        return next((arm for arm in self.arms if arm.id == arm_id), None)


class Column(IntEnum):
    """The place of each number in `Sums`: what is weighted by age first, then what is only counted."""

    DRAWN = 0
    DRAWN_TOTAL = 1
    DRAWN_SQUARES = 2
    CONFOUNDED = 3
    CONFOUNDED_TOTAL = 4
    CONFOUNDED_SQUARES = 5
    COST_KNOWN = 6
    COST_USD = 7
    LATENCY_KNOWN = 8
    LATENCY_S = 9
    COUNT = 10
    DRAWN_COUNT = 11
    HUMAN = 12
    JUDGE = 13
    PROGRAM = 14
    OUTCOME = 15
    GRADED_BUCKETS = 16


@dataclass(slots=True)
class Sums:
    """Sums of one routed arm over buckets, partitions or classes: numbers by `Column`, merged by adding them."""

    arm: Arm
    numbers: list[float]

    def merged(self, other: Sums) -> Sums:
        """Both together."""
        return Sums(self.arm, list(map(add, self.numbers, other.numbers)))

    @property
    def drawn(self) -> Tally:
        """Scores of traces that a router drew."""
        return Tally(*self.numbers[Column.DRAWN : Column.DRAWN + 3])

    @property
    def confounded(self) -> Tally:
        """Scores of the others."""
        return Tally(*self.numbers[Column.CONFOUNDED : Column.CONFOUNDED + 3])


def weigh(row: tuple[int, ...], weight: float) -> list[float]:
    """Turn a bucket's row, whose traces weigh `weight` each, into numbers by `Column`."""
    sources, total, squares = row[_SCORED], sum(row[_TOTALS]), sum(row[_SQUARES])
    scores = [sum(sources) * weight, total / MICRO * weight, squares / MICRO**2 * weight]
    known = [row[_COST] * weight, row[_COST + 1] * NANO_USD * weight, row[_LATENCY] * weight, row[_LATENCY + 1] * MS * weight]
    count = row[_FIRST_SUM + Sum.COUNT]
    # A score x in [0, 1] has x² = x only at 0 and 1; the sums are exact, so that one graded score shows.
    graded = int(squares != total * MICRO)
    if row[2]:
        return [*scores, 0.0, 0.0, 0.0, *known, count, count, *sources, graded]
    return [0.0, 0.0, 0.0, *scores, *known, count, 0, *sources, graded]


class Ages:
    """How much a bucket weighs at one moment of the log.

    A bucket's age is that of its middle, and no less than nothing; the moment is the end of the minute that the greatest
    log time lies in, so that evidence changes once a minute where nothing new comes in.

    Example:
        >>> ages = Ages(log_time_ms=3_600_000, half_life_s=1800.0, keep_s=86_400)
        >>> ages.weight(3600, 0)
        0.5
    """

    def __init__(self, *, log_time_ms: int, half_life_s: float, keep_s: int) -> None:
        self.moment_s = -(-log_time_ms // MINUTE_MS) * 60
        self._half_life_s = half_life_s
        self._keep_s = keep_s
        self._weights: dict[tuple[int, int], float | None] = {}

    def weight(self, width_s: int, start_s: int) -> float | None:
        """What a trace of the bucket weighs, in [0, 1]; None where the bucket is retired."""
        key = (width_s, start_s)
        if key not in self._weights:
            self._weights[key] = self._weigh(width_s, start_s)
        return self._weights[key]

    def _weigh(self, width_s: int, start_s: int) -> float | None:
        if self.moment_s - (start_s + width_s) >= self._keep_s:
            return None
        age_s = max(self.moment_s - start_s - width_s / 2, 0.0)
        return float(2.0 ** -min(age_s / self._half_life_s, 1000.0))


def reduce_partition(statistics: PartitionStatistics, ages: Ages, fields: tuple[str, ...]) -> dict[str, Sums]:
    """Sum the buckets of one partition, by routed arm; overflow and nameless arms cannot be served and are left out."""
    reduced: dict[str, Sums] = {}
    for statistic in statistics.arms:
        arm = project(statistic.arm, fields)
        if not arm.id or statistic.arm.model == OVERFLOW:
            continue
        if sums := sum_buckets(arm, statistic.buckets, ages):
            reduced[arm.id] = reduced[arm.id].merged(sums) if arm.id in reduced else sums
    return reduced


def sum_buckets(arm: Arm, buckets: Iterable[tuple[int, ...]], ages: Ages) -> Sums | None:
    """Sum the buckets that are not retired; None where there are none."""
    weighed = [weigh(row, weight) for row in buckets if (weight := ages.weight(row[0], row[1])) is not None]
    return Sums(arm, [sum(column) for column in zip(*weighed, strict=True)]) if weighed else None


def merge(parts: Iterable[Mapping[str, Sums]]) -> dict[str, Sums]:
    """Merge what several partitions, or classes, say, by arm."""
    merged: dict[str, Sums] = {}
    for part in parts:
        for arm_id, sums in part.items():
            merged[arm_id] = merged[arm_id].merged(sums) if arm_id in merged else sums
    return merged


def class_evidence(
    query_class: str,
    sums: Mapping[str, Sums],
    settings: RoutingSettings,
    *,
    priors: Mapping[str, Tally] | None = None,
    log_time_ms: int = 0,
) -> ClassEvidence:
    """Make a class's evidence out of its merged sums; arms that need no trace are there without any."""
    known = {arm.id: Sums(arm, [0] * len(Column)) for arm in settings.known_arms} | dict(sums)
    priors = priors or {}
    arms = tuple(_arm_evidence(known[arm_id], priors.get(arm_id, NO_SCORES), settings) for arm_id in sorted(known))
    return ClassEvidence(query_class=query_class, arms=arms, log_time_ms=log_time_ms)


def _arm_evidence(sums: Sums, prior: Tally, settings: RoutingSettings) -> ArmEvidence:
    numbers = sums.numbers
    return ArmEvidence(
        arm=sums.arm,
        id=sums.arm.id,
        drawn=sums.drawn,
        confounded=sums.confounded,
        prior=prior.capped(settings.pooled_cap),
        graded=numbers[Column.GRADED_BUCKETS] > 0,
        count=int(numbers[Column.COUNT]),
        drawn_count=int(numbers[Column.DRAWN_COUNT]),
        by_source=tuple(int(count) for count in numbers[Column.HUMAN : Column.OUTCOME + 1]),
        cost_usd=Quantity(numbers[Column.COST_KNOWN], numbers[Column.COST_USD]),
        latency_s=Quantity(numbers[Column.LATENCY_KNOWN], numbers[Column.LATENCY_S]),
        confounded_cap=settings.confounded_cap,
    )
