"""Statistics and desks for the tests of routing."""

from __future__ import annotations

from typing import Any

from stream.fold.totals import MICRO, SUMS, Sum
from stream.records import Arm, ArmStatistics, PartitionStatistics, RoutingUpdate
from stream.routing.desk import RoutingDesk
from stream.routing.settings import RoutingSettings
from stream.routing.state import RoutingState

FOLD = "f" * 12
DAY_S = 86_400
NOW_S = 20_000 * DAY_S
"""Log time of the tests: midnight, so that buckets of every width begin or end there."""


def row(*scores: float, width_s: int = 60, start_s: int = NOW_S - 60, drawn: int = 1, source: Sum = Sum.HUMAN, **sums: int) -> tuple[int, ...]:
    """One bucket with a trace for every score, and any other sums by name."""
    micros = [round(score * MICRO) for score in scores]
    totals = [0] * SUMS
    totals[Sum.COUNT] = totals[source] = len(micros)
    totals[source + 1], totals[source + 2] = sum(micros), sum(micro * micro for micro in micros)
    for name, value in sums.items():
        totals[Sum[name]] = value
    return (width_s, start_s, drawn, *totals)


def statistics(
    arms: dict[str, list[tuple[int, ...]]], *, query_class: str = "code", partition: int = 0, offset: int = 1, fold: str = FOLD, log_time_s: int = NOW_S
) -> PartitionStatistics:
    """A partition's running total of a class."""
    totals = tuple(ArmStatistics(arm=Arm.parse(arm_id), buckets=tuple(rows)) for arm_id, rows in arms.items())
    return PartitionStatistics(fold=fold, partition=partition, offset=offset, log_time_ms=log_time_s * 1000, query_class=query_class, arms=totals)


def scored(successes: int, failures: int, *, drawn: int = 1) -> list[tuple[int, ...]]:
    """Buckets of an arm with so many scores of 1 and of 0, all of the last minute."""
    return [row(*([1.0] * successes + [0.0] * failures), drawn=drawn)]


def desk(epoch: int = 5, **settings: Any) -> RoutingDesk:
    """A desk that has claimed its epoch."""
    made = RoutingDesk(settings=RoutingSettings(**settings), fold=FOLD, state=RoutingState())
    made.claim(epoch)
    return made


def by_class(updates: list[RoutingUpdate]) -> dict[str, RoutingUpdate]:
    """Updates by their class."""
    return {update.query_class: update for update in updates}


def shares(update: RoutingUpdate) -> dict[str, float]:
    """Probabilities by arm."""
    return {arm.id: arm.probability for arm in update.arms}
