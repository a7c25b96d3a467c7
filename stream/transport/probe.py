"""Reads single records and the bounds of logs with a consumer of its own, outside the worker's group; overrides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.errors import BrokerUnavailableError
from stream.record_batches import read_by_batch

FETCH_WAIT_MS = 20
PATIENCE_S = 20.0
"""A broker that does not answer a fetch for this long is taken as away; a worker under load has been seen to wait 3 s."""

Place = tuple[str, int]
"""A topic and a partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """What a partition's log looks like around one offset.

    Attributes:
        start: the first offset the broker still keeps.
        end: the offset that the next record will get.
        record: the first record at or after the offset that was asked for, or None where there is none.
    """

    start: int
    end: int
    record: Any


async def look(client_options: Mapping[str, Any], offsets: Mapping[Place, int]) -> dict[Place, LogView]:
    """Read, of each partition, start, end and the first record at or after an offset.

    Raises:
        BrokerUnavailableError: the broker does not answer within `PATIENCE_S`.
    """
    if not offsets:
        return {}
    async with _consumer(client_options) as consumer:
        starts, ends = await _bounds(consumer, [TopicPartition(*place) for place in offsets])
        wanted = {tp: max(offset, starts[tp]) for tp, offset in _by_tp(offsets).items() if max(offset, starts[tp]) < ends[tp]}
        records = await _first_records(consumer, wanted, ends)
    return {place: LogView(start=starts[tp], end=ends[tp], record=records.get(tp)) for place, tp in zip(offsets, _by_tp(offsets), strict=True)}


async def true_ends(client_options: Mapping[str, Any], places: Sequence[Place]) -> dict[Place, int]:
    """Read the true end offsets of partitions (see `log_bounds` for what is untrue of others).

    Raises:
        BrokerUnavailableError: the broker does not answer within `PATIENCE_S`.
    """
    if not places:
        return {}
    async with _consumer(client_options) as consumer:
        _, ends = await _bounds(consumer, [TopicPartition(*place) for place in places])
    return {(tp.topic, tp.partition): end for tp, end in ends.items()}


async def true_starts(client_options: Mapping[str, Any], places: Sequence[Place]) -> dict[Place, int]:
    """Read the first offsets that the broker keeps of partitions (see `log_bounds` for what is untrue of others).

    Raises:
        BrokerUnavailableError: the broker does not answer within `PATIENCE_S`.
    """
    if not places:
        return {}
    async with _consumer(client_options) as consumer:
        tps = [TopicPartition(*place) for place in places]
        consumer.assign(tps)
        return {(tp.topic, tp.partition): start for tp, start in (await _starts(consumer, tps)).items()}


async def read_all(client_options: Mapping[str, Any], place: Place) -> AsyncIterator[Any]:
    """Read every record of a partition, from its start to the end it has now."""
    async with _consumer(client_options) as consumer:
        tp = TopicPartition(*place)
        starts, ends = await _bounds(consumer, [tp])
        consumer.seek(tp, starts[tp])
        async for record in _until(consumer, tp, ends[tp]):
            yield record


def _by_tp(offsets: Mapping[Place, int]) -> dict[TopicPartition, int]:
    return {TopicPartition(*place): offset for place, offset in offsets.items()}


@asynccontextmanager
async def _consumer(client_options: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConsumer]:
    read_by_batch()
    consumer = AIOKafkaConsumer(**client_options, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=FETCH_WAIT_MS)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _bounds(consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """True start and end of each partition: a fetch just before the end that ListOffsets claims brings the true one."""
    consumer.assign(tps)
    starts, claimed = await _starts(consumer, tps), await consumer.end_offsets(tps)
    for tp in tps:
        consumer.seek(tp, max(claimed[tp] - 1, starts[tp]))
    deadline = time.monotonic() + PATIENCE_S
    while any(consumer.highwater(tp) is None for tp in tps):
        await _fetch(consumer, tps, deadline)
    return starts, {tp: max(claimed[tp], consumer.highwater(tp)) for tp in tps}


async def _starts(consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
    """True start of each partition: where ListOffsets claims another than 0, a fetch at 0 tells whether the broker has it."""
    starts = await consumer.beginning_offsets(tps)
    for tp, claimed in starts.items():
        if claimed > 0:
            first = await _first_records(consumer, {tp: 0}, {tp: claimed})  # Kafka refuses an offset that is gone: the position is then the claimed one
            starts[tp] = first[tp].offset if first else claimed
    return starts  # type: ignore[no-any-return]


async def _first_records(consumer: AIOKafkaConsumer, wanted: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
    found: dict[TopicPartition, Any] = {}
    for tp, offset in wanted.items():
        consumer.seek(tp, offset)
        async for record in _until(consumer, tp, ends[tp]):
            found[tp] = record
            break
    return found


async def _until(consumer: AIOKafkaConsumer, tp: TopicPartition, end: int) -> AsyncIterator[Any]:
    """Records of one partition up to `end`; what the broker has cleaned away at the end ends it too."""
    deadline = time.monotonic() + PATIENCE_S
    quiet = 0
    while await consumer.position(tp) < end and quiet < 25:
        answered_ms = consumer.last_poll_timestamp(tp)
        fetched = await _fetch(consumer, [tp], deadline)
        if fetched:
            quiet, deadline = 0, time.monotonic() + PATIENCE_S
        elif consumer.last_poll_timestamp(tp) != answered_ms:
            quiet += 1  # an answer without records; a broker that says nothing has not said that there are none
        for record in fetched:
            if record.offset < end:
                yield record


async def _fetch(consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition], deadline: float) -> list[Any]:
    try:
        fetched = await asyncio.wait_for(consumer.getmany(*tps, timeout_ms=100), PATIENCE_S)
    except TimeoutError:
        fetched = {}
    if time.monotonic() > deadline and not fetched:
        raise BrokerUnavailableError(f"the broker has not answered a fetch of {sorted(map(str, tps))} for {PATIENCE_S:g} s, but recovery needs its answer; see whether it is well")
    return [record for records in fetched.values() for record in records]
