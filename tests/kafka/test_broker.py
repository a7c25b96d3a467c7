"""The Kafka that other tests stand on is one: it keeps its log, compacts when it is told to, and ends with its owner."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.kafka.broker import KafkaBroker

pytestmark = [pytest.mark.kafka_only, pytest.mark.slow]

PARTITION = TopicPartition("kept", 0)

OWNER = """
import asyncio, pathlib, sys, time
from tests.kafka.broker import KafkaBroker
broker = KafkaBroker(pathlib.Path(sys.argv[1]))
asyncio.run(broker.start())
print(broker.pid, flush=True)
time.sleep(60)
"""


async def create(bootstrap: str, **config: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(PARTITION.topic, 1, 1, topic_configs=config)])
    await admin.close()


async def publish(bootstrap: str, keys: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for key in keys:
            await producer.send_and_wait(PARTITION.topic, b"value", key=key, partition=0)


async def keys(bootstrap: str) -> list[bytes | None]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([PARTITION])
        end = (await consumer.end_offsets([PARTITION]))[PARTITION]
        found: list[bytes | None] = []
        while await consumer.position(PARTITION) < end:
            found += [record.key for records in (await consumer.getmany(timeout_ms=200)).values() for record in records]
        return found


async def test_kafka_keeps_its_log_and_its_port_over_a_kill(tmp_path: Path) -> None:
    """The fault tests kill it and expect, as of a real one, that what was acknowledged is there again, at the same address."""
    broker = KafkaBroker(tmp_path)
    before = await broker.start()
    await create(before)
    await publish(before, [b"a", b"b"])

    broker.kill()
    after = await broker.start()
    found = await keys(after)
    broker.kill()

    assert before == after
    assert found == [b"a", b"b"]


async def test_kafka_compacts_while_it_is_written_to_when_that_is_forced(tmp_path: Path) -> None:
    """A recovery that is right only on an uncompacted changelog must fail in tests: of 40 records under 2 keys, most are gone in seconds."""
    broker = KafkaBroker(tmp_path, forced_compaction=True)
    address = await broker.start()
    await create(address, **{"cleanup.policy": "compact"})

    for _ in range(4):
        await publish(address, [b"a", b"b"] * 5)
        await asyncio.sleep(1.2)
    await publish(address, [b"c"])
    async with asyncio.timeout(20):
        while len(found := await keys(address)) > 20:
            await asyncio.sleep(0.2)
    compactions = broker.compactions
    broker.kill()

    assert compactions > 0
    assert set(found) == {b"a", b"b", b"c"}


async def test_kafka_ends_with_a_killed_owner(tmp_path: Path) -> None:
    """A test run that is killed must leave no Java process behind."""
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        process = psutil.Process(int(await asyncio.to_thread(owner.stdout.readline)))
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    gone, _ = await asyncio.to_thread(psutil.wait_procs, [process], 5)

    assert gone == [process]
