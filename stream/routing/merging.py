"""Merging: totals added up bucket by bucket, as exact integers, and taken out again when a newer total replaces them.

So a new total costs what has changed in it, and what is merged depends on which totals are in it, never on the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import add, sub
from typing import TypeAlias

from stream.fold.totals import MINUTE_S, Sum
from stream.records import OVERFLOW, Arm, PartitionStatistics, is_trial
from stream.routing.evidence import Weighed
from stream.routing.settings import project
from stream.routing.weighing import Ages, Bucket, Sums, drift, weigh

Row: TypeAlias = tuple[int, ...]
"""A bucket as it travels: width, start, drawn, then the sums."""
Change: TypeAlias = tuple[str, Arm, Iterable[Row], Iterable[Row]]
"""Id and routed fields of an arm, rows that are gone, rows that have come."""
_KEY = 3
"""Columns of a row that name its bucket."""
SPENT = (int(Sum.COST_KNOWN), int(Sum.COST_NANO_USD), int(Sum.LATENCY_KNOWN), int(Sum.LATENCY_MS))
NOTHING = (0, 0, 0, 0)


class ArmBuckets:
    """The buckets of one routed arm, and what they came to when they were weighed last.

    Attributes:
        arm: by its routed fields.
        sums: of every bucket.
        told: the same as they were at the last call of `news`.
    """

    __slots__ = ("_ages", "_changed_s", "_looked_s", "_weighed", "arm", "sums", "told")

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.sums: dict[Bucket, Sums] = {}
        self.told: dict[Bucket, Sums] = {}
        self._ages: Ages | None = None
        self._weighed: Weighed | None = None
        self._looked_s: int | None = None
        self._changed_s: int | None = None

    def change(self, gone: Iterable[Row], come: Iterable[Row]) -> None:
        """Take rows out, and add others."""
        self._ages, sums = None, self.sums
        gone, come = list(gone), list(come)
        if self._looked_s is not None and any(row[1] < self._looked_s - MINUTE_S for row in chain(gone, come)):
            self._looked_s = None
        for row in come:
            bucket = row[:_KEY]
            there = sums.get(bucket)
            sums[bucket] = tuple(map(add, there, row[_KEY:])) if there else row[_KEY:]
        for row in gone:
            bucket = row[:_KEY]
            left = tuple(map(sub, sums[bucket], row[_KEY:]))
            if any(left):
                sums[bucket] = left
            else:
                del sums[bucket]

    def news(self) -> tuple[list[Row], list[Row]]:
        """Rows that are gone, and rows that have come, since the last call."""
        told, sums = self.told, self.sums
        gone = [bucket + was for bucket, was in told.items() if sums.get(bucket) is not was]
        come = [bucket + now for bucket, now in sums.items() if told.get(bucket) is not now]
        self.told = dict(sums)
        return gone, come

    def weighed(self, ages: Ages) -> Weighed | None:
        """What the buckets that are not retired come to at a moment; None where there are none."""
        if self._ages is not ages:
            self._ages, self._weighed = ages, weigh(self.arm, self.sums, ages, changed_s=self._drift(ages))
        return self._weighed

    def _drift(self, ages: Ages) -> int | None:
        """Since when the mean is what it is, by the minutes that are over."""
        if self._looked_s != ages.moment_s:
            self._looked_s, self._changed_s = ages.moment_s, drift(self.sums, ages)
        return self._changed_s


class Merged:
    """Totals of several partitions, or classes, together: by routed arm.

    Attributes:
        spent: over all arms, by bucket of time: what is in `SPENT`.
    """

    def __init__(self) -> None:
        self._arms: dict[str, ArmBuckets] = {}
        self._changed: set[str] = set()
        self.spent: dict[Bucket, Sums] = {}

    def change(self, changes: Iterable[Change]) -> None:
        """Take rows out, and add others."""
        for arm_id, arm, left, arrived in changes:
            gone, come = list(left), list(arrived)
            if (buckets := self._arms.get(arm_id)) is None:
                buckets = self._arms[arm_id] = ArmBuckets(arm)
            buckets.change(gone, come)
            self._changed.add(arm_id)
            self._spend(gone, sub)
            self._spend(come, add)

    def _spend(self, rows: Iterable[Row], by: Callable[[int, int], int]) -> None:
        for row in rows:
            bucket, amounts = (row[0], row[1], 0), tuple(row[_KEY + place] for place in SPENT)
            left = tuple(map(by, self.spent.get(bucket, NOTHING), amounts))
            if any(left):
                self.spent[bucket] = left
            else:
                self.spent.pop(bucket, None)

    def news(self) -> Iterator[Change]:
        """What has changed since the last call: of many totals, only what they left behind."""
        for arm_id in self._changed:
            buckets = self._arms[arm_id]
            yield (arm_id, buckets.arm, *buckets.news())
            if not buckets.sums:
                del self._arms[arm_id]
        self._changed.clear()

    def weighed(self, ages: Ages) -> dict[str, Weighed]:
        """What each arm comes to at a moment; arms whose buckets are all retired are left out."""
        return {arm_id: weighed for arm_id, buckets in self._arms.items() if (weighed := buckets.weighed(ages))}


def changes(before: PartitionStatistics | None, after: PartitionStatistics | None, fields: tuple[str, ...]) -> Iterator[Change]:
    """Compare two totals of one partition and class, by the fields of an arm that are routed over.

    Returns:
        What has changed in each full arm; overflow and nameless arms cannot be served and are left out.
    """
    old = {statistic.arm: statistic.buckets for statistic in before.arms} if before else {}
    new = {statistic.arm: statistic.buckets for statistic in after.arms} if after else {}
    for arm in old | new:
        was, now = old.get(arm, ()), new.get(arm, ())
        if was != now and (routed := _routed(arm, fields)):
            yield (*routed, *_differences(was, now))


def _differences(was: Sequence[Row], now: Sequence[Row]) -> tuple[Iterable[Row], Iterable[Row]]:
    if not was or not now:
        return was, now
    gone, come = set(was), set(now)
    return gone - come, come - gone


@lru_cache(maxsize=8192)
def _routed(arm: Arm, fields: tuple[str, ...]) -> tuple[str, Arm] | None:
    """Id and routed fields of an arm; None where it cannot be served, or was on trial and could not be told from what is live."""
    routed = project(arm, fields)
    is_apart = "config_version" in fields or not is_trial(arm.config_version)
    return (routed.id, routed) if routed.id and arm.model != OVERFLOW and is_apart else None
