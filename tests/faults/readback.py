"""Reads back from the broker what stands there in the end: the log, its dead letters, the compacted topics as a fresh reader sees them.

It shares no reader with Eddy: one that left something out would leave it out on both sides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from stream.settings import Settings


class Stood(NamedTuple):
    """One record as the broker gives it; the fields that the fold reads have aiokafka's names."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def header(self, name: str) -> str | None:
        """The value of the first header of that name."""
        return next((value.decode() for key, value in self.headers if key == name), None)


async def read_all(settings: Settings, topic: str) -> dict[int, list[Stood]]:
    """Read every partition of a topic to its true end, in the order of offsets."""
    async with _consumer(settings, topic) as (consumer, places):
        for place in places:
            consumer.seek(place, 0)  # the embedded broker's own answer for the first offset may leave out a batch
        records = [record async for record in _to_end(consumer, places)]
    partitions: dict[int, list[Stood]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.offset):
        partitions[record.partition].append(record)
    return dict(partitions)


async def true_ends(settings: Settings, topic: str) -> dict[int, int]:
    """Find the offset after the last record of each partition.

    The embedded broker's own answer leaves out its last batch; the high watermark that comes with a fetch is right on every broker.
    """
    async with _consumer(settings, topic) as (consumer, places):
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, max(end - 1, 0))
        async for _ in _to_end(consumer, places):
            pass
        return {place.partition: consumer.highwater(place) or 0 for place in places}


def newest(records: list[Stood]) -> dict[bytes, Stood]:
    """What a fresh reader of a compacted partition ends with."""
    standing: dict[bytes, Stood] = {}
    for record in records:
        standing.pop(record.key or b"", None)
        if record.value is not None:
            standing[record.key or b""] = record
    return standing


async def _to_end(consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> AsyncIterator[Stood]:
    while not all([(end := consumer.highwater(place)) is not None and await consumer.position(place) >= end for place in places]):
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for record in records:
                yield Stood(record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers))


@asynccontextmanager
async def _consumer(settings: Settings, topic: str) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    places = await _partitions(settings, topic)
    consumer = AIOKafkaConsumer(**settings.client_options, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    await consumer.start()
    try:
        consumer.assign(places)
        yield consumer, places
    finally:
        await consumer.stop()


async def _partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(**settings.client_options)
    await admin.start()
    try:
        (described,) = [entry for entry in await admin.describe_topics(None) if entry["topic"] == topic]
        return [TopicPartition(topic, entry["partition"]) for entry in described["partitions"]]
    finally:
        await admin.close()
