"""Reads topics to their true end, and follows them: partitions assigned by hand, no consumer group, no offset committed.

It does not decode; whoever reads knows what stands on the topic.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from stream.errors import BrokerUnavailableError, TopicMismatchError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

    from stream.settings import Settings

POLL_MS = 100
"""Longest wait for a fetch; the embedded broker does not wake a waiting one, so a long wait is pure latency."""
FIRST = 0
"""Where a reader begins: a broker that has removed it sends the reader to its first record. The embedded broker's own answer for that
may leave out a partition's first batch (`stream.transport.log_bounds`)."""
END_TIMEOUT_S = 30.0
"""How long a broker may leave every fetch of a partition unanswered before it counts as unavailable."""


class TopicReader:
    """The records of some topics from given offsets on.

    A broker's own lists of start and end offsets are not asked: the embedded broker's answers leave out its first batch or its
    last. A fetch at 0 and the high watermark that comes with a fetch are right on every broker.
    """

    def __init__(self, consumer: AIOKafkaConsumer, partitions: tuple[TopicPartition, ...]) -> None:
        self._consumer = consumer
        self._partitions = partitions

    async def to_end(self) -> AsyncIterator[ConsumerRecord[bytes | None, bytes | None]]:
        """Yield what stands in the topics, up to their ends as they were at the first fetch after the call."""
        ends: dict[TopicPartition, int] = {}
        waited_ms = 0
        while not await self._has_reached(ends):
            batches = await self._consumer.getmany(timeout_ms=POLL_MS)
            waited_ms = 0 if batches else waited_ms + POLL_MS
            if waited_ms > END_TIMEOUT_S * 1000:
                raise BrokerUnavailableError(f"no fetch of {self._names()} was answered for {END_TIMEOUT_S:g} s, but its end is known only from one; look at the broker's log")
            for records in batches.values():
                for record in records:
                    yield record

    async def follow(self) -> AsyncIterator[list[ConsumerRecord[bytes | None, bytes | None]]]:
        """Yield lists of records for ever, an empty one when nothing came for a while."""
        while True:
            batches = await self._consumer.getmany(timeout_ms=POLL_MS)
            yield [record for records in batches.values() for record in records]

    async def tail(self) -> list[ConsumerRecord[bytes | None, bytes | None]]:
        """Read only the last records of every partition: at least one of each, where there is one."""
        near = await self._consumer.end_offsets(self._partitions)
        for partition, offset in near.items():
            self._consumer.seek(partition, max(offset - 1, 0))
        return [record async for record in self.to_end()]

    async def ends(self) -> dict[TopicPartition, int]:
        """Find the true ends, by reading on from close to them; what is read on the way is lost to this reader."""
        await self.tail()
        return {partition: self._consumer.highwater(partition) or 0 for partition in self._partitions}

    def silent_s(self) -> float | None:
        """Seconds since the broker last answered a fetch of every partition; None where it never did."""
        stamps = [self._consumer.last_poll_timestamp(partition) for partition in self._partitions]
        return None if None in stamps else max(0.0, time.time() - min(stamps) / 1000)

    async def _has_reached(self, ends: dict[TopicPartition, int]) -> bool:
        for partition in self._partitions:
            if partition not in ends and (highwater := self._consumer.highwater(partition)) is not None:
                ends[partition] = highwater
        return len(ends) == len(self._partitions) and all([await self._consumer.position(partition) >= end for partition, end in ends.items()])

    def _names(self) -> str:
        return ", ".join(sorted({partition.topic for partition in self._partitions}))


@asynccontextmanager
async def reading(settings: Settings, *topics: str, offsets: Mapping[tuple[str, int], int] | None = None) -> AsyncIterator[TopicReader]:
    """Open a reader.

    Args:
        settings: how the broker is reached.
        topics: the topics to read, all partitions of each.
        offsets: where to start by (topic, partition); where it has none, at the first record there is.

    Raises:
        BrokerUnavailableError: nothing answers at the address.
        TopicMismatchError: a topic is not there.
    """
    consumer = await _started_consumer(settings)
    try:
        partitions = await _partitions(consumer, topics, settings.bootstrap)
        consumer.assign(partitions)
        _seek(consumer, partitions, offsets or {})
        yield TopicReader(consumer, partitions)
    finally:
        await consumer.stop()


async def read_compacted(settings: Settings, topic: str) -> dict[bytes, bytes]:
    """Read the last value of every key of a compacted topic; a tombstone takes its key away."""
    values: dict[bytes, bytes] = {}
    async with reading(settings, topic) as reader:
        async for record in reader.to_end():
            if record.value is None:
                values.pop(record.key or b"", None)
            else:
                values[record.key or b""] = record.value
    return values


async def _started_consumer(settings: Settings) -> AIOKafkaConsumer:
    from aiokafka import AIOKafkaConsumer

    from stream.record_batches import read_by_batch

    read_by_batch()
    consumer = AIOKafkaConsumer(
        **settings.client_options,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=POLL_MS,
        max_partition_fetch_bytes=max(2 * settings.max_record_bytes, 1 << 20),
    )
    await start(consumer, settings.bootstrap)
    return consumer


async def start(client: AIOKafkaConsumer | AIOKafkaProducer, bootstrap: str) -> None:
    """Start a client, which then is to be stopped; one that does not start is stopped here.

    Raises:
        BrokerUnavailableError: nothing answers at the address.
    """
    from aiokafka.errors import KafkaError

    try:
        await client.start()
    except BaseException as exc:  # a cancelled start leaves sockets behind as well
        await client.stop()
        if isinstance(exc, KafkaError | OSError):
            raise BrokerUnavailableError(unreachable(bootstrap)) from exc
        raise


def unreachable(bootstrap: str) -> str:
    """Say that no broker answers at an address, and what to do."""
    return f"no Kafka broker answers at {bootstrap}, but this needs one; start `eddy up`, or set EDDY_BOOTSTRAP to the address of yours"


async def _partitions(consumer: AIOKafkaConsumer, topics: tuple[str, ...], bootstrap: str) -> tuple[TopicPartition, ...]:
    from aiokafka import TopicPartition

    cluster = await consumer._client.fetch_all_metadata()  # the consumer itself knows, on Kafka, only topics that it was assigned
    if missing := [topic for topic in topics if topic not in cluster.topics()]:
        raise TopicMismatchError(f"{bootstrap} has no topic {', '.join(missing)}, but this reads it; start `eddy up` or `eddy worker` once, which creates Eddy's topics")
    return tuple(TopicPartition(topic, number) for topic in topics for number in sorted(cluster.partitions_for_topic(topic) or ()))


def _seek(consumer: AIOKafkaConsumer, partitions: tuple[TopicPartition, ...], offsets: Mapping[tuple[str, int], int]) -> None:
    for partition in partitions:
        consumer.seek(partition, offsets.get((partition.topic, partition.partition), FIRST))
