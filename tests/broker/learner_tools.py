"""Publishing to a log and reading it back, beside a learner."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.archive.reader import ArchiveReader
from stream.archive.restore import ARCHIVE_FILE
from stream.fold.fold import fold
from stream.fold.state import PartitionState
from stream.learner import run_learner
from stream.reading.partitioning import partition_of
from stream.reading.query_class import classify_query
from stream.settings import Settings
from stream.topics import TRACES

Row = tuple[int, int, bytes | None, bytes | None]
"""Offset, timestamp, key, value."""
OF_THE_LOG_ITSELF = ("base", "epoch", "epoch_start", "record_hash", "counters")
"""What a state says of the broker's log rather than of what was learned."""


@asynccontextmanager
async def producing(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**settings.client_options, acks="all", linger_ms=2)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def publish(settings: Settings, ids: list[str], **fields: Any) -> None:
    """Publish a trace for each id, in order."""
    async with producing(settings) as producer:
        for trace_id in ids:
            value = msgspec.json.encode({"trace_id": trace_id, "query_class": "code", "model": "m", **fields})
            await producer.send(TRACES.name, value, key=trace_id.encode(), partition=partition_of(trace_id.encode(), settings.partitions))
        await producer.flush()


async def read_back(settings: Settings, topic: str, number: int) -> list[Row]:
    """Read a partition from its start to its end."""
    consumer = AIOKafkaConsumer(**settings.client_options, group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    await consumer.start()
    try:
        place, rows = TopicPartition(topic, number), []
        consumer.assign([place])
        consumer.seek(place, 0)
        while consumer.highwater(place) is None or await consumer.position(place) < consumer.highwater(place):
            fetched = (await consumer.getmany(timeout_ms=100)).get(place, [])
            rows += [(record.offset, record.timestamp, record.key, record.value) for record in fetched]
        return rows
    finally:
        await consumer.stop()


async def log_of(settings: Settings) -> dict[int, list[Row]]:
    return {number: await read_back(settings, TRACES.name, number) for number in range(settings.partitions)}


def archived(settings: Settings) -> dict[int, list[Row]]:
    """Read what is archived; an archive that is not made yet holds nothing."""
    try:
        return _archived(settings)
    except FileNotFoundError:
        return {number: [] for number in range(settings.partitions)}


def _archived(settings: Settings) -> dict[int, list[Row]]:
    with ArchiveReader(settings.data_dir / ARCHIVE_FILE) as reader:
        return {number: [(entry.offset, entry.timestamp_ms, entry.key, entry.value) for entry in reader.records(number)] for number in range(settings.partitions)}


def count(settings: Settings) -> int:
    return sum(map(len, archived(settings).values()))


async def until(condition: Callable[[], Any], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s} s"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def learning(settings: Settings, *, mirror: bool) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(run_learner(settings, mirror=mirror))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def folded(state: PartitionState, rows: list[Row]) -> PartitionState:
    """Fold rows into a state, and return it."""
    fold(state, [SimpleNamespace(offset=offset, timestamp=timestamp, key=key, value=value) for offset, timestamp, key, value in rows], classify_query)
    return state


def learned(state: PartitionState) -> dict[str, Any]:
    """What a state has learned, whatever log it is from."""
    return {name: value for name, value in state.canonical().items() if name not in OF_THE_LOG_ITSELF}
