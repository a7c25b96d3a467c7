"""Sends records from the command line, each acknowledged by the broker before the command ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from stream.errors import TopicMismatchError
from stream.topics import ENVELOPE_BYTES

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from stream.settings import Settings

BATCH_BYTES = 262_144
LINGER_MS = 5
SEND_TIMEOUT_MS = 30_000
"""A broker that is away for longer ends the command instead of hanging it."""

Message = tuple[str, bytes | None, bytes | None]
"""Topic, key, value; a value of None is a tombstone."""


@asynccontextmanager
async def producing(settings: Settings, *topics: str) -> AsyncIterator[AIOKafkaProducer]:
    """Open a producer for topics that are there; on leaving, everything sent has been acknowledged or has failed.

    Raises:
        BrokerUnavailableError: nothing answers at the address.
        TopicMismatchError: a topic is not there.
    """
    from aiokafka import AIOKafkaProducer

    from stream.topic_reader import start

    producer = AIOKafkaProducer(
        **settings.client_options,
        acks="all",
        linger_ms=LINGER_MS,
        max_batch_size=max(BATCH_BYTES, settings.max_record_bytes + ENVELOPE_BYTES),
        max_request_size=max(BATCH_BYTES, settings.max_record_bytes) + ENVELOPE_BYTES,
        request_timeout_ms=SEND_TIMEOUT_MS,
    )
    await start(producer, settings.bootstrap)
    try:
        await _require_topics(producer, topics, settings.bootstrap)
        yield producer
    finally:
        await producer.stop()


async def send_all(settings: Settings, messages: Iterable[Message]) -> None:
    """Send some records and wait until the broker has them."""
    together = list(messages)
    async with producing(settings, *{topic for topic, _, _ in together}) as producer:
        for topic, key, value in together:
            await producer.send_and_wait(topic, value, key=key)


async def send_record(settings: Settings, topic: str, key: str, record: msgspec.Struct | None) -> None:
    """Send one record, or a tombstone, and wait until the broker has it."""
    await send_all(settings, [(topic, key.encode(), msgspec.json.encode(record) if record is not None else None)])


async def _require_topics(producer: AIOKafkaProducer, topics: tuple[str, ...], bootstrap: str) -> None:
    metadata = await producer.client.fetch_all_metadata()
    if missing := sorted(set(topics) - metadata.topics()):
        raise TopicMismatchError(f"{bootstrap} has no topic {', '.join(missing)}, but this writes to it; start `eddy up` or `eddy worker` once, which creates Eddy's topics")
