"""Where a log starts: what a broker says of it, and what stands there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from stream.settings import Settings
from stream.topic_reader import reading
from stream.transport.probe import look, read_all, true_starts

PARTITIONS = 64


@pytest.fixture
def settings(bootstrap: str, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(bootstrap)


async def create(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    await admin.close()


async def claimed_starts(bootstrap: str, topic: str, partitions: int) -> dict[int, int]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        starts = await consumer.beginning_offsets([TopicPartition(topic, number) for number in range(partitions)])
    return {place.partition: start for place, start in starts.items()}


async def race(bootstrap: str, topic: str) -> None:
    """Have two producers write the first two records of every partition at once."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as one, AIOKafkaProducer(bootstrap_servers=bootstrap) as other:
        for producer in (one, other):
            await producer.partitions_for(topic)
        sent = [await producer.send(topic, b"x" * 20_000, partition=number) for number in range(PARTITIONS) for producer in (one, other)]
        await asyncio.gather(*sent)


@pytest.mark.embedded_only
async def test_every_first_batch_is_read_whichever_producer_raced_it(settings: Settings) -> None:
    """Tansu 0.6 may say that a partition starts behind the batch that lost the race, though it keeps it: whoever believed it would lose the batch.

    It does so for about one partition in a thousand; this looks closer at the first topic that has one. Where none comes up in its eight
    seconds, which is every other run, it sees only that the common case is right.
    """
    deadline, attempt, late = time.monotonic() + 8, 0, 0
    while not late and time.monotonic() < deadline:
        attempt += 1
        topic = f"eddy-race-{attempt}"
        await create(settings.bootstrap, topic, PARTITIONS)
        await race(settings.bootstrap, topic)
        late = next((number for number, start in (await claimed_starts(settings.bootstrap, topic, PARTITIONS)).items() if start > 0), 0)
    place = (topic, late)
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:  # one more: until it comes, the broker may hide the second as well
        for number in range(PARTITIONS):
            await producer.send_and_wait(topic, b"x", partition=number)

    assert await true_starts(settings.client_options, [place]) == {place: 0}
    assert (await look(settings.client_options, {place: 0}))[place].record.offset == 0
    assert [record.offset async for record in read_all(settings.client_options, place)] == [0, 1, 2]
    async with reading(settings, topic) as reader:
        read = {(record.partition, record.offset) async for record in reader.to_end()}
    assert read == {(number, offset) for number in range(PARTITIONS) for offset in (0, 1, 2)}


@pytest.mark.kafka_only
async def test_log_starts_behind_what_was_deleted(settings: Settings) -> None:
    """Retention takes records away: reading begins at the first that is left, or at the end where none is."""
    await create(settings.bootstrap, "eddy-short", 2)
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
        for number in (0, 0, 0, 1, 1):
            await producer.send_and_wait("eddy-short", b"x", partition=number)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition("eddy-short", 0): RecordsToDelete(before_offset=2), TopicPartition("eddy-short", 1): RecordsToDelete(before_offset=2)})
    await admin.close()

    assert await true_starts(settings.client_options, [("eddy-short", 0), ("eddy-short", 1)]) == {("eddy-short", 0): 2, ("eddy-short", 1): 2}
    assert [record.offset async for record in read_all(settings.client_options, ("eddy-short", 0))] == [2]
    view = (await look(settings.client_options, {("eddy-short", 1): 0}))["eddy-short", 1]
    assert (view.start, view.end, view.record) == (2, 2, None)
    async with reading(settings, "eddy-short") as reader:
        assert [(record.partition, record.offset) async for record in reader.to_end()] == [(0, 2)]
