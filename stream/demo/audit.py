"""Holds what the running loop has counted against the log itself, folded again from its start by one thread."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import msgspec

from stream.fold.totals import SUMS, Sum
from stream.overview import FIRST_SUM, Overview
from stream.records import PartitionStatistics
from stream.topic_reader import reading
from stream.topics import STATISTICS, TRACES

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from stream.settings import Settings

LOOK_S = 0.25

Totals = dict[tuple[str, str], tuple[int, ...]]
"""By class and full arm: every sum, over all partitions and buckets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the comparison found.

    Attributes:
        lost: traces that were published and are not counted.
        double_counted: traces counted more than once.
        differing: classes and arms of which any sum (rewards, costs, times, tokens) differs.
        duplicates: copies of traces that stand in the log.
    """

    lost: int
    double_counted: int
    differing: int
    duplicates: int

    @property
    def is_clean(self) -> bool:
        """Whether everything is counted, once, and every sum agrees."""
        return not (self.lost or self.double_counted or self.differing)


async def audit(settings: Settings, published: frozenset[str], *, within_s: float) -> Audit:
    """Compare.

    1. Read the log to its true end, and fold it.
    2. Read the running totals until they agree, or the time is up.

    Args:
        settings: how the broker is reached and what specifies the fold.
        published: ids of the traces that clients handed over; each must be in the log.
        within_s: how long the loop may take to catch up.
    """
    records = await _read_log(settings)
    expected = fold_again(settings, records)
    in_log = [trace_id for trace_id in map(_trace_id, records) if trace_id]
    deadline_s = time.monotonic() + within_s
    while (counted := await _read_totals(settings)) != expected and time.monotonic() < deadline_s:
        await asyncio.sleep(LOOK_S)
    missing = len(published - set(in_log))
    return compare(expected, counted, missing=missing, duplicates=len(in_log) - len(set(in_log)))


def compare(expected: Totals, counted: Totals, *, missing: int, duplicates: int) -> Audit:
    """Hold two totals against each other.

    Example:
        >>> compare({("c", "a"): (3, 1)}, {("c", "a"): (2, 1), ("c", "b"): (1, 0)}, missing=0, duplicates=0)
        Audit(lost=1, double_counted=1, differing=2, duplicates=0)
    """
    nothing = (0,) * SUMS
    keys = expected.keys() | counted.keys()
    excess = [counted.get(key, nothing)[Sum.COUNT] - expected.get(key, nothing)[Sum.COUNT] for key in keys]
    return Audit(
        lost=missing + sum(max(0, -number) for number in excess),
        double_counted=sum(max(0, number) for number in excess),
        differing=sum(expected.get(key) != counted.get(key) for key in keys),
        duplicates=duplicates,
    )


def fold_again(settings: Settings, records: Iterable[ConsumerRecord[bytes | None, bytes | None]]) -> Totals:
    """Fold a whole log from its start, partition by partition."""
    from stream.fold.fold import fold
    from stream.fold.spec import FoldSpec
    from stream.fold.state import PartitionState
    from stream.reading.query_class import classifier

    spec, by_partition = FoldSpec.of(settings), defaultdict(list)
    for record in records:
        by_partition[record.partition].append(record)
    statistics = []
    for number, partition in by_partition.items():
        state = PartitionState(number, spec)
        fold(state, partition, classifier(spec.classifier))
        statistics += [state.statistics(name) for name in state.all_classes()]
    return add_up(statistics)


def add_up(statistics: Iterable[PartitionStatistics]) -> Totals:
    """Add up all partitions and buckets of every class and arm; an arm without a trace is left out."""
    totals: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for record in statistics:
        for entry in record.arms:
            key = record.query_class, entry.arm.id
            for row in entry.buckets:
                totals[key] = [sum(both) for both in zip_longest(totals[key], row[FIRST_SUM:], fillvalue=0)]
    return {key: tuple(sums) for key, sums in totals.items() if any(sums)}


async def _read_log(settings: Settings) -> list[ConsumerRecord[bytes | None, bytes | None]]:
    async with reading(settings, TRACES.name) as reader:
        return [record async for record in reader.to_end()]


async def _read_totals(settings: Settings) -> Totals:
    from stream.fold.spec import FoldSpec

    overview = Overview(settings.arm_fields, keep_statistics=True)
    async with reading(settings, STATISTICS.name) as reader:
        async for record in reader.to_end():
            overview.take(record.topic, record.key, record.value)
    return add_up(record for record in overview.statistics if record.fold == FoldSpec.of(settings).id)


class _Named(msgspec.Struct):
    trace_id: str
    type: str = "trace"


def _trace_id(record: ConsumerRecord[bytes | None, bytes | None]) -> str:
    try:
        named = msgspec.json.decode(record.value or b"", type=_Named)
    except msgspec.DecodeError:
        return ""
    return named.trace_id if named.type == "trace" else ""
