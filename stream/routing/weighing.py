"""Weighing: what the buckets of one arm come to at a moment, each by its age."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import fsum, log
from operator import mul
from typing import NamedTuple, TypeAlias

from stream.fold.totals import MICRO, MINUTE_S, WIDTHS_S, Sum
from stream.records import Arm
from stream.routing.calibration import AS_GIVEN, Scales
from stream.routing.drift import Span, changed_since
from stream.routing.evidence import NO_SCORES, Quantity, Tally, Weighed

NANO_USD, MS = 1e-9, 1e-3
MINUTE_MS = 60_000
BY_SOURCE = (Sum.HUMAN, Sum.JUDGE, Sum.PROGRAM, Sum.OUTCOME, Sum.REWARD)
"""The sources' scored traces, in the order of `stream.routing.evidence.SOURCES`; behind each stand the sum of the scores and that of their squares."""

Bucket: TypeAlias = tuple[int, ...]
"""Width in seconds, start in epoch seconds, drawn 0 or 1."""
Sums: TypeAlias = tuple[int, ...]
"""By `stream.fold.totals.Sum`."""
RECENT_TRACES = 10.0
"""Traces of an arm after which a cost or a latency counts half in what it is expected to be: prices change at once, and few traces show it."""
FORGOTTEN = 8
"""So many times `RECENT_TRACES` ago, a cost counts for nothing."""


class Ages:
    """How much a bucket weighs at one moment of the log.

    A bucket's age is that of its middle, and no less than nothing; the moment is the end of the minute that the greatest
    log time lies in, so that evidence changes once a minute where nothing new comes in.

    Args:
        log_time_ms: the greatest log time.
        half_life_s: age at which a trace counts half.
        keep_s: age at which a bucket is retired.
        rating_delay_s: age before which a trace's score does not count: ratings that come soon are not like those that come
            late, so that of an arm whose traces are all young only the soon ones would be seen.
        merged_s: least age of what is in a bucket of an hour, and of a day.

    Example:
        >>> ages = Ages(log_time_ms=3_600_000, half_life_s=1800.0, keep_s=86_400)
        >>> ages.weight(3600, 0)
        0.5
        >>> ages = Ages(log_time_ms=3_600_000, half_life_s=1800.0, keep_s=86_400, rating_delay_s=600.0)
        >>> [minute for minute in range(60) if ages.score_weight(60, 60 * minute) is not None][-1]
        48

    Attributes:
        moment_s: log time, in seconds.
        scales: on which scores are read then.
    """

    def __init__(
        self,
        *,
        log_time_ms: int,
        half_life_s: float,
        keep_s: int,
        scales: Scales = AS_GIVEN,
        rating_delay_s: float = 0.0,
        merged_s: tuple[int, int] = (0, 0),
    ) -> None:
        self.scales = scales
        self.moment_s = -(-log_time_ms // MINUTE_MS) * 60
        self._half_life_s = half_life_s
        self._keep_s = keep_s
        self.rating_delay_s = rating_delay_s
        self._least_age_s = dict(zip(WIDTHS_S, (0, *merged_s), strict=True))
        self._weights: dict[tuple[int, int], float | None] = {}

    def weight(self, width_s: int, start_s: int) -> float | None:
        """What a trace of the bucket weighs, in [0, 1]; None where the bucket is retired."""
        key = (width_s, start_s)
        if key not in self._weights:
            self._weights[key] = self._weigh(width_s, start_s)
        return self._weights[key]

    def score_weight(self, width_s: int, start_s: int) -> float | None:
        """What the score of a trace of the bucket weighs; None where the bucket may hold one whose score does not count yet."""
        age_s = max(self.moment_s - MINUTE_S - (start_s + width_s), self._least_age_s.get(width_s, 0))
        return self.weight(width_s, start_s) if age_s >= self.rating_delay_s else None

    def _weigh(self, width_s: int, start_s: int) -> float | None:
        if self.moment_s - (start_s + width_s) >= self._keep_s:
            return None
        age_s = max(self.moment_s - start_s - width_s / 2, 0.0)
        return float(2.0 ** -min(age_s / self._half_life_s, 1000.0))


class _Part(NamedTuple):
    """Buckets as columns: the weight of each, and each of their sums."""

    weights: list[float]
    columns: list[tuple[int, ...]]

    @classmethod
    def of(cls, buckets: Mapping[Bucket, Sums], weigh: Callable[[int, int], float | None], *, drawn: int, since_s: int = 0) -> _Part:
        """Take the buckets that have a weight, of what was drawn or of what was not, from a time on."""
        chosen = [(width_s, start_s, sums) for (width_s, start_s, is_drawn), sums in buckets.items() if is_drawn == drawn and start_s >= since_s]
        kept = [(weight, sums) for width_s, start_s, sums in chosen if (weight := weigh(width_s, start_s)) is not None]
        return cls([weight for weight, _ in kept], list(zip(*(sums for _, sums in kept), strict=True)))

    def dot(self, *places: int) -> float:
        """The columns' sum, each bucket weighted. Products are rounded, their sum is exact: the order of the buckets does not matter."""
        return fsum(fsum(map(mul, column, self.weights)) for place in places if any(column := self.columns[place]))

    def total(self, *places: int) -> int:
        """The columns' sum."""
        return sum(sum(self.columns[place]) for place in places) if self.weights else 0

    def scores(self, scales: Scales) -> Tally:
        """Traces with a score, the sum of the scores and that of their squares, weighted; each source on its scale."""
        plain = [place for place, line in scales if line.is_identity]
        mapped = [Tally(*line.of(*self._tally(place))) for place, line in scales if not line.is_identity]
        return reduce(Tally.plus, mapped, self._tally(*plain))

    def _tally(self, *sources: int) -> Tally:
        counts, totals, squares = ([place + at for place in sources] for at in range(3))
        return Tally(self.dot(*counts), self.dot(*totals) / MICRO, self.dot(*squares) / MICRO**2)

    def score_total(self, scales: Scales) -> float:
        """The sum of the scores, whatever their age."""
        return fsum(line.of(self.total(place), self.total(place + 1) / MICRO, 0.0)[1] for place, line in scales)

    def is_graded(self, scales: Scales) -> bool:
        """Whether a score lies between 0 and 1: there alone x² is not x, and it is less, so that the exact sums differ too."""
        if any(not line.is_identity and self.total(place) for place, line in scales):
            return True
        return self.total(*(place + 2 for place, _ in scales)) != self.total(*(place + 1 for place, _ in scales)) * MICRO


def weigh(arm: Arm, buckets: Mapping[Bucket, Sums], ages: Ages, *, changed_s: int | None = None) -> Weighed | None:
    """Sum the buckets of an arm that are not retired, scores since its mean changed; None where there are none."""
    undrawn, drawn = (_Part.of(buckets, ages.weight, drawn=drawn) for drawn in (0, 1))
    judged = [_Part.of(buckets, ages.score_weight, drawn=drawn) for drawn in (0, 1)] if ages.rating_delay_s else [undrawn, drawn]
    since = judged if changed_s is None else [_Part.of(buckets, ages.score_weight, drawn=drawn, since_s=changed_s) for drawn in (0, 1)]
    parts = [part for part in (undrawn, drawn) if part.weights]
    if not parts:
        return None

    def dot(place: int) -> float:
        return sum(part.dot(place) for part in parts)

    scales = ages.scales
    counted = {place for place, _ in scales}
    newest = sorted(buckets, key=_by_age)
    return Weighed(
        arm=arm,
        drawn=since[1].scores(scales) if since[1].weights else NO_SCORES,
        confounded=since[0].scores(scales) if since[0].weights else NO_SCORES,
        cost_usd=Quantity(dot(Sum.COST_KNOWN), dot(Sum.COST_NANO_USD) * NANO_USD),
        latency_s=Quantity(dot(Sum.LATENCY_KNOWN), dot(Sum.LATENCY_MS) * MS),
        graded=any(part.is_graded(scales) for part in judged),
        traces=sum(part.total(Sum.COUNT) for part in parts),
        drawn_traces=drawn.total(Sum.COUNT),
        by_source=tuple(sum(part.total(place) for part in judged) if place in counted else 0 for place in BY_SOURCE),
        score_total=fsum(part.score_total(scales) for part in judged),
        unresolved=sum(part.total(Sum.UNRESOLVED) for part in parts),
        recent_cost_usd=_recent(buckets, newest, Sum.COST_KNOWN, NANO_USD),
        recent_latency_s=_recent(buckets, newest, Sum.LATENCY_KNOWN, MS),
        rated_since_change=sum(part.total(*counted) for part in since),
        changed_s=changed_s,
    )


def drift(buckets: Mapping[Bucket, Sums], ages: Ages) -> int | None:
    """Since when the arm's mean is what it is, by the minutes that are over; None: it never changed."""
    return changed_since(_spans(buckets, ages))


def _spans(buckets: Mapping[Bucket, Sums], ages: Ages) -> list[Span]:
    """The scores of an arm by time, whoever drew it, without those of the minute that is not over."""
    spans: dict[int, Span] = {}
    for (width_s, start_s, _), sums in buckets.items():
        weight = sum(sums[place] for place, _ in ages.scales)
        if weight and start_s < ages.moment_s - MINUTE_S and ages.score_weight(width_s, start_s) is not None:
            there = spans.get(start_s, Span(start_s, 0.0, 0.0, 0.0))
            found = [line.of(sums[place], sums[place + 1] / MICRO, sums[place + 2] / MICRO**2) for place, line in ages.scales if sums[place]]
            total, squares = fsum(total for _, total, _ in found), fsum(squares for *_, squares in found)
            spans[start_s] = Span(start_s, there.weight + weight, there.total + total, there.squares + squares)
    return [spans[start_s] for start_s in sorted(spans)]


def _by_age(bucket: Bucket) -> tuple[int, Bucket]:
    return -bucket[1], bucket


def _recent(buckets: Mapping[Bucket, Sums], newest: Sequence[Bucket], known: int, unit: float) -> Quantity:
    """Mean cost (or latency) of an arm of late: each trace weighted by how many newer ones there are."""
    newer, weights, totals = 0, [], []
    for bucket in newest:
        count = buckets[bucket][known]
        if count:
            weight = _halved(newer) - _halved(newer + count)
            weights.append(weight)
            totals.append(weight * buckets[bucket][known + 1] / count)
            newer += count
        if newer > FORGOTTEN * RECENT_TRACES:
            break
    scale = RECENT_TRACES / log(2.0)  # the first trace weighs about one
    return Quantity(scale * fsum(weights), scale * fsum(totals) * unit)


def _halved(newer: int) -> float:
    return float(2.0 ** -(newer / RECENT_TRACES))
