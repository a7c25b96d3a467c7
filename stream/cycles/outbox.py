"""Sending what the ledger says is to be sent, in order; each message until the broker has it, so some of them twice."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from stream import metrics
from stream.cycles.attempts import Call
from stream.cycles.entries import Message
from stream.cycles.inbox import read_cycle_record
from stream.cycles.ledger import Ledger
from stream.records import CycleFinished, CycleStep
from stream.topics import CYCLES

if TYPE_CHECKING:
    from stream.settings import Settings

LOOK_S = 0.1
"""Between two looks at whether there is something to send."""


async def announce(settings: Settings, call: Call, owned: asyncio.Event) -> None:
    """Send for ever, while this learner holds `eddy.cycles`.

    Raises:
        KafkaError, BrokerUnavailableError: the broker is away.
    """
    from aiokafka import AIOKafkaProducer

    from stream.topic_reader import start

    producer = AIOKafkaProducer(**settings.client_options, acks="all", max_request_size=max(settings.max_record_bytes, 8 * 2**20))
    await start(producer, settings.bootstrap)
    try:
        while True:
            await owned.wait()
            messages: list[Message] = await call(lambda ledger: ledger.unsent())
            for message in messages:
                await producer.send_and_wait(message.topic, None if message.value is None else message.value.encode(), key=message.key.encode())
                await call(partial(Ledger.sent, last_id=message.id))
                _count(message)
            if not messages:
                await asyncio.sleep(LOOK_S)
    finally:
        await producer.stop()


def _count(message: Message) -> None:
    record = read_cycle_record(None if message.value is None else message.value.encode()) if message.topic == CYCLES.name else None
    if isinstance(record, CycleFinished):
        metrics.CYCLES_ENDED.labels(record.status).inc()
    elif isinstance(record, CycleStep) and record.number:
        metrics.CYCLE_STEPS.labels(record.step).inc()
    elif record is None:
        metrics.CYCLE_ANNOUNCEMENTS.labels(message.topic).inc()
