"""Following the topics that cycles heed, from the learner."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from stream.cycles.attempts import Call
from stream.cycles.inbox import Words, read_cycle_record, take_cycle_record, take_job
from stream.cycles.ledger import Ledger
from stream.errors import TopicMismatchError
from stream.topic_reader import POLL_MS, reading, start
from stream.topics import CYCLES, OVERRIDES, TRAINING_JOBS

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord

    from stream.settings import Settings

logger = logging.getLogger(__name__)

GROUP = "eddy-cycles"
"""The group whose member with the one partition has the cycles; nothing is committed in it."""


async def follow_cycles(settings: Settings, call: Call, owned: asyncio.Event) -> None:
    """Take every record of `eddy.cycles`, for ever, whenever this learner holds it.

    Args:
        settings: how the broker is reached.
        call: does something with the ledger.
        owned: set while the partition is held and was read to its end.

    Raises:
        KafkaError, BrokerUnavailableError, TopicMismatchError: the broker is away, or has no such topic.
    """
    from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
    from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    from stream.record_batches import read_by_batch

    read_by_batch()
    session_ms = int(settings.session_timeout_s * 1000)
    consumer = AIOKafkaConsumer(
        **settings.client_options,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=POLL_MS,
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 3,
        partition_assignment_strategy=(StickyPartitionAssignor,),  # whoever has the cycles keeps them when another learner comes
    )

    class FromTheStart(ConsumerRebalanceListener):  # type: ignore[misc]
        """Reads the partition from its start whenever it is assigned."""

        def on_partitions_revoked(self, revoked: Any) -> None:
            owned.clear()

        def on_partitions_assigned(self, assigned: Any) -> None:
            for partition in assigned:
                consumer.seek(partition, 0)

    await start(consumer, settings.bootstrap)
    try:
        if CYCLES.name not in (await consumer._client.fetch_all_metadata()).topics():  # to subscribe to it would make it, with as many partitions as the broker likes
            raise TopicMismatchError(f"{settings.bootstrap} has no topic {CYCLES.name}, but learning cycles are asked for there; a worker or `eddy up` creates it")
        consumer.subscribe([CYCLES.name], listener=FromTheStart())
        await _take_all(consumer, call, owned)
    finally:
        owned.clear()
        await consumer.stop()


async def _take_all(consumer: AIOKafkaConsumer, call: Call, owned: asyncio.Event) -> None:
    while True:
        for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
            await call(partial(_take_records, records=records))
        if not owned.is_set() and await _is_at_end(consumer):
            owned.set()


def _take_records(ledger: Ledger, records: list[ConsumerRecord[bytes | None, bytes | None]]) -> None:
    for record in records:
        if (read := read_cycle_record(record.value)) is not None:
            take_cycle_record(ledger, read)


async def _is_at_end(consumer: AIOKafkaConsumer) -> bool:
    """Whether the partition is held and read to its end, as the last fetch of it said."""
    held = consumer.assignment()
    ends = {partition: consumer.highwater(partition) for partition in held}
    return bool(held) and all([end is not None and await consumer.position(partition) >= end for partition, end in ends.items()])


async def follow_others(settings: Settings, call: Call, heard: asyncio.Event) -> None:
    """Take freezes and ends of training jobs, for ever.

    Args:
        settings: how the broker is reached.
        call: does something with the ledger.
        heard: set once both topics were read to their ends.

    Raises:
        BrokerUnavailableError, TopicMismatchError: the broker is away, or has no such topics.
    """
    words = Words()

    async def take(record: ConsumerRecord[bytes | None, bytes | None]) -> None:
        if record.topic == OVERRIDES.name:
            words.take(record.key or b"", record.value)
        else:
            await call(lambda ledger: take_job(ledger, record.value))

    async with reading(settings, OVERRIDES.name, TRAINING_JOBS.name) as reader:
        async for record in reader.to_end():
            await take(record)
        noted: dict[str, str] = {}
        async for records in reader.follow():
            for record in records:
                await take(record)
            if words.marks() != noted:
                noted = words.marks()
                await call(partial(Ledger.put_marks, marks=noted))
            heard.set()
