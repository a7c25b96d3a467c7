"""Thresholds on merged totals, since the last cycle was asked for: a function of totals, of log time and of what was asked for, and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream.fold.totals import MICRO, MINUTE_S, Sum
from stream.records import CycleRequested
from stream.routing.drift import Span, changed_since
from stream.routing.weighing import BY_SOURCE, Bucket, Sums

if TYPE_CHECKING:
    from stream.settings import Settings  # noqa: TID251 - a type only: `of` is given the value


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What fires a cycle; 0 fires none.

    Attributes:
        traces: that are new.
        rated: of them, those with a score.
        drop: by how much the mean score has fallen, in reward, once a test confirms that it has changed.
        every_s: seconds of log time since the last cycle, if anything at all is new.
        cooldown_s: seconds of log time between two cycles, at least.
    """

    traces: int = 0
    rated: int = 0
    drop: float = 0.0
    every_s: float = 0.0
    cooldown_s: float = 3_600.0

    @classmethod
    def of(cls, settings: Settings) -> Thresholds:
        """Take them out of the deployment's settings."""
        return cls(
            traces=settings.cycle_after_traces,
            rated=settings.cycle_after_rated,
            drop=settings.cycle_after_drop,
            every_s=settings.cycle_every_s,
            cooldown_s=settings.cycle_cooldown_s,
        )

    @property
    def are_set(self) -> bool:
        """Whether any of them can fire."""
        return any((self.traces, self.rated, self.drop, self.every_s))


def request(totals: Mapping[Bucket, Sums], *, log_time_s: float, last_s: float, thresholds: Thresholds) -> CycleRequested | None:
    """Ask for a cycle where a threshold is crossed.

    The request's id is made of what crossed and of when the last cycle was asked for: whoever looks at the same log again asks for the
    same cycle again, which changes nothing.

    Args:
        totals: of all classes and arms, by bucket of time.
        log_time_s: the greatest there is, epoch seconds.
        last_s: log time at which the last cycle was asked for; 0 where none was.
        thresholds: of the deployment.
    """
    if log_time_s - last_s < thresholds.cooldown_s:
        return None
    traces, rated = counted(totals, (Sum.COUNT,), last_s), counted(totals, _sources(totals), last_s)
    crossed = _crossed(totals, traces, rated, log_time_s, last_s, thresholds)
    if crossed is None:
        return None
    trigger, found = crossed
    evidence = {"new_traces": traces, "new_rated": rated, "since": last_s, **found}
    return CycleRequested(cycle_id=f"{trigger.replace(' ', '-')}-{int(last_s)}", trigger=trigger, requested_at=log_time_s, evidence=evidence)


def _crossed(totals: Mapping[Bucket, Sums], traces: int, rated: int, log_time_s: float, last_s: float, thresholds: Thresholds) -> tuple[str, dict[str, Any]] | None:
    if 0 < thresholds.traces <= traces:
        return "new traces", {"threshold": thresholds.traces}
    if 0 < thresholds.rated <= rated:
        return "new ratings", {"threshold": thresholds.rated}
    if thresholds.drop and (fallen := drop(totals, log_time_s=log_time_s, last_s=last_s)) is not None and fallen >= thresholds.drop:
        return "feedback drop", {"threshold": thresholds.drop, "fallen_by": round(fallen, 6)}
    if 0 < thresholds.every_s <= log_time_s - last_s and traces:
        return "time", {"threshold": thresholds.every_s}
    return None


def _sources(totals: Mapping[Bucket, Sums]) -> tuple[int, ...]:
    """Where the scores stand that traces are judged by: where another reward than quality is summed, there alone."""
    width = len(next(iter(totals.values()), ()))
    return (Sum.REWARD,) if width > Sum.REWARD else tuple(place for place in BY_SOURCE if place != Sum.REWARD)


def counted(totals: Mapping[Bucket, Sums], places: tuple[int, ...], since_s: float) -> int:
    """Count traces since a time; of a bucket that began before it, the part that lies after it.

    Example:
        >>> from stream.fold.totals import identity
        >>> sums = tuple(10 if place == Sum.COUNT else 0 for place in range(len(identity())))
        >>> counted({(60, 0, 1): sums, (60, 60, 1): sums}, (Sum.COUNT,), 30.0)     # half of the first, all of the second
        15
    """
    parts = ((min(max(start_s + width_s - since_s, 0.0) / width_s, 1.0), sums) for (width_s, start_s, _), sums in totals.items())
    return math.floor(math.fsum(part * sum(sums[place] for place in places) for part, sums in parts))


def drop(totals: Mapping[Bucket, Sums], *, log_time_s: float, last_s: float) -> float | None:
    """By how much the mean score has fallen since the last cycle; None where no test confirms that it has changed, or it changed before."""
    spans = sorted(_spans(totals, log_time_s))
    changed_s = changed_since(spans)
    if changed_s is None or changed_s < last_s:
        return None
    before, after = ([span for span in spans if (span.start_s >= changed_s) is late] for late in (False, True))
    return _mean(before) - _mean(after)


def _spans(totals: Mapping[Bucket, Sums], log_time_s: float) -> Iterator[Span]:
    """Scores by time, whoever drew and whoever scored, without those of the minute that is not over."""
    by_start: dict[int, list[tuple[int, int, int]]] = {}
    sources = _sources(totals)
    for (_, start_s, _), sums in totals.items():
        if start_s + MINUTE_S <= log_time_s:
            by_start.setdefault(start_s, []).extend((sums[place], sums[place + 1], sums[place + 2]) for place in sources if sums[place])
    for start_s, scores in by_start.items():
        if scores:
            weight, total, squares = (sum(column) for column in zip(*scores, strict=True))
            yield Span(start_s, float(weight), total / MICRO, squares / MICRO**2)


def _mean(spans: list[Span]) -> float:
    weight = math.fsum(span.weight for span in spans)
    return math.fsum(span.total for span in spans) / weight if weight else 0.0
