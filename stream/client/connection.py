"""How the clients reach the broker: the settings they use, the producer and the consumer they open."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from stream.errors import BrokerUnavailableError, RecordRefusedError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    from stream.settings import Settings

Item = tuple[bytes, bytes]
"""Key and value of a record that is to be sent."""

BATCH_BYTES = 262_144
"""A larger batch gains nothing, and this is a quarter of what Kafka takes by default."""
REQUEST_TIMEOUT_S = 10.0
"""How long one attempt to deliver may take; a broker that restarts is back sooner, and aiokafka retries until then."""
RETRY_BACKOFF_MS = 250
STOP_TIMEOUT_S = 5.0


class Wire(Protocol):
    """One connection over which records are delivered."""

    partitions: int
    """Partitions of the topic."""
    idempotent: bool
    """Whether a retry can write nothing twice."""

    async def send(self, partition: int, items: list[Item]) -> None:
        """Deliver records to a partition, in their order.

        Raises:
            RecordRefusedError: the broker will never take them.
        """

    async def close(self) -> None:
        """Let go of the connection; what is not delivered is not waited for."""


class KafkaWire:
    """A started aiokafka producer and the one topic that it delivers to."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, *, partitions: int, idempotent: bool) -> None:
        self._producer = producer
        self._topic = topic
        self.partitions = partitions
        self.idempotent = idempotent

    async def send(self, partition: int, items: list[Item]) -> None:
        """Deliver records as one batch and wait until all in-sync replicas have it."""
        from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError, RecordListTooLargeError

        builder = self._producer.create_batch()
        for key, value in items:
            if builder.append(key=key, value=value, timestamp=None) is None:
                raise RecordRefusedError(f"a record of {len(value)} bytes does not fit a batch, but max_record_bytes sets its size; raise it")
        builder.close()
        try:
            await (await self._producer.send_batch(builder, self._topic, partition=partition))
        except (InvalidTimestampError, MessageSizeTooLargeError, RecordListTooLargeError) as exc:
            raise RecordRefusedError(f"the broker refused {len(items)} records with {exc!r}, but nothing will change its mind; drop them") from exc

    async def close(self) -> None:
        """Stop the producer."""
        await stop(self._producer)


def settings_of(bootstrap: str | None, settings: Settings | None) -> Settings:
    """Take the settings given, or read them; an address given outranks both.

    Where nobody has named a broker, it is the one of an `eddy up` in the same folder, as for the commands.

    Raises:
        SettingsError: they cannot be used.
    """
    if settings is not None:
        return settings if bootstrap is None else settings.model_copy(update={"bootstrap": bootstrap})
    from stream.broker import with_local_broker
    from stream.settings import load

    return with_local_broker(load()) if bootstrap is None else load(bootstrap=bootstrap)


async def open_wire(settings: Settings, topic: str) -> KafkaWire:
    """Connect a producer.

    1. Ask for an idempotent one.
    2. Where the broker answers that it has none (the embedded one), go without: a retry may then write a record twice,
       and the fold counts it once.
    3. Look whether the topic is there without naming it, so that no broker creates it with the wrong shape.

    Raises:
        BrokerUnavailableError: nothing answers, or the topic is not there yet.
    """
    from aiokafka.errors import KafkaConnectionError, KafkaError

    idempotent = True
    try:
        producer = await _start_producer(settings, idempotent=True)  # 1
    except KafkaConnectionError as exc:
        raise BrokerUnavailableError(f"no broker answers at {settings.bootstrap}") from exc
    except KafkaError:
        idempotent = False
        producer = await _start_producer(settings, idempotent=False)  # 2
    try:
        await _require_topic(producer.client, topic)  # 3
        partitions = len(await producer.partitions_for(topic))
    except BaseException:
        await stop(producer)
        raise
    return KafkaWire(producer, topic, partitions=partitions, idempotent=idempotent)


async def open_consumer(settings: Settings, topic: str, *, fetch_wait_ms: int) -> AIOKafkaConsumer:
    """Connect a consumer without a group to an existing topic.

    Raises:
        BrokerUnavailableError: nothing answers, or the topic is not there yet.
    """
    from aiokafka import AIOKafkaConsumer

    from stream.record_batches import read_by_batch

    read_by_batch()
    consumer = AIOKafkaConsumer(
        **settings.client_options,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=fetch_wait_ms,
        max_partition_fetch_bytes=max(2 * settings.max_record_bytes, 1 << 20),
        request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        retry_backoff_ms=RETRY_BACKOFF_MS,
    )
    await _start(consumer)
    try:
        await _require_topic(consumer._client, topic)
    except BaseException:
        await stop(consumer)
        raise
    return consumer


async def stop(client: Any) -> None:
    """Stop a producer or a consumer, whatever state it is in."""
    with suppress(Exception):
        await asyncio.wait_for(client.stop(), STOP_TIMEOUT_S)


async def _start_producer(settings: Settings, *, idempotent: bool) -> AIOKafkaProducer:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(
        **settings.client_options,
        acks="all",
        enable_idempotence=idempotent,
        max_batch_size=max(BATCH_BYTES, settings.max_record_bytes) + 4096,
        max_request_size=2 * max(BATCH_BYTES, settings.max_record_bytes),
        request_timeout_ms=int(REQUEST_TIMEOUT_S * 1000),
        retry_backoff_ms=RETRY_BACKOFF_MS,
    )
    await _start(producer)
    return producer


async def _start(client: Any) -> None:
    try:
        await asyncio.wait_for(client.start(), 2 * REQUEST_TIMEOUT_S)
    except BaseException:
        await stop(client)
        raise


async def _require_topic(client: Any, topic: str) -> None:
    there: Any = await client.fetch_all_metadata()
    if topic not in there.topics():
        raise BrokerUnavailableError(f"the broker has no topic {topic} yet; `eddy up` or `eddy worker` creates it")
