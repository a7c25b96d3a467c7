"""The learner beside a real broker: what is in the log is in the archive, whatever happens to either."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.archive.reader import ArchiveReader
from stream.archive.restore import ARCHIVE_FILE
from stream.broker import EmbeddedBroker
from stream.learner import GROUP
from stream.provision import provision
from stream.settings import Settings
from stream.topics import TRACES
from tests.broker.learner_tools import archived, count, learning, log_of, producing, publish, until

Make = Callable[..., Settings]


async def test_learner_archives_the_log_as_it_stands(bootstrap: str, make_settings: Make) -> None:
    """Record for record, malformed ones included, and says so to lag monitors, on /metrics and on /ready."""
    settings = make_settings(bootstrap)
    await provision(settings)
    await publish(settings, [f"t{number}" for number in range(500)])
    async with producing(settings) as producer:
        await producer.send_and_wait(TRACES.name, b"not json", key=b"k", headers=[("h", b"1")])
        await producer.send_and_wait(TRACES.name, None, key=b"k")
    log = await log_of(settings)

    async with learning(settings, mirror=False):
        await until(lambda: count(settings) == 502)
        await asyncio.sleep(1.5)
        address = json.loads((settings.data_dir / "learner.json").read_text())
        async with aiohttp.ClientSession() as session:
            metrics, ready, page = [await _get(session, address, path) for path in ("/metrics", "/ready", "/")]
        committed = await _committed(settings)

    assert archived(settings) == log
    assert committed == {number: len(rows) for number, rows in log.items()}
    assert ready == (200, "ok")
    assert all(f'eddy_archive_lag_records{{partition="{number}"}} 0.0' in metrics[1] for number in range(settings.partitions))
    assert page[0] == 200


async def test_learner_loses_and_repeats_nothing_when_it_is_killed(fresh_broker: EmbeddedBroker, make_settings: Make) -> None:
    """SIGKILL at random moments while records come in: in the end the archive is the log. P1, P5."""
    settings = make_settings(fresh_broker.bootstrap)
    await provision(settings)
    draw = random.Random(4)
    publishing = asyncio.create_task(_publish_slowly(settings, 6_000))
    for kill in range(5):
        before = count(settings)
        process = _spawn(settings)
        await until(lambda process=process, before=before: count(settings) > before or process.poll() is not None or publishing.done())
        await asyncio.sleep(draw.uniform(0.0, 0.5))
        assert process.poll() is None, f"the learner ended by itself before kill {kill}"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    await publishing

    async with learning(settings, mirror=False):
        await until(lambda: count(settings) == 6_000)
        await asyncio.sleep(1.5)

    assert archived(settings) == await log_of(settings)
    with ArchiveReader(settings.data_dir / ARCHIVE_FILE) as reader:
        assert reader.count() == 6_000
        assert reader.counts().get("duplicates", 0) == 0


@pytest.mark.embedded_only
async def test_learner_goes_on_when_the_log_was_made_anew(tmp_path: Path, make_settings: Make) -> None:
    """The broker is killed and comes back empty on its port under a running learner: what comes then is archived behind what was there,
    even where the new log has grown beyond the old one's end.
    """
    broker = EmbeddedBroker(tmp_path / "broker")
    settings = make_settings(await broker.start(), partitions=1)
    try:
        await provision(settings)
        async with learning(settings, mirror=False):
            await publish(settings, [f"old{number}" for number in range(20)])
            await until(lambda: count(settings) == 20)
            broker.kill()
            await asyncio.sleep(1.0)
            await broker.start()
            await provision(settings)
            await publish(settings, [f"new{number}" for number in range(30)])
            await until(lambda: count(settings) == 50)
    finally:
        broker.kill()

    with ArchiveReader(settings.data_dir / ARCHIVE_FILE) as reader:
        entries = list(reader.records(0))
    assert [entry.offset for entry in entries] == list(range(50))
    assert [entry.trace_id for entry in entries] == [f"old{number}" for number in range(20)] + [f"new{number}" for number in range(30)]


@pytest.mark.embedded_only
async def test_learner_notices_a_new_log_at_its_start(tmp_path: Path, make_settings: Make) -> None:
    """The new log is longer than the old one was: only the record at the archive's end tells them apart."""
    broker = EmbeddedBroker(tmp_path / "broker")
    settings = make_settings(await broker.start(), partitions=1)
    try:
        for name, total in (("old", 20), ("new", 40)):
            await provision(settings)
            await publish(settings, [f"{name}{number}" for number in range(20)])
            async with learning(settings, mirror=False):
                await until(lambda total=total: count(settings) == total)
            broker.kill()
            await broker.start()
    finally:
        broker.kill()

    with ArchiveReader(settings.data_dir / ARCHIVE_FILE) as reader:
        assert reader.counts()["epochs"] == 1
        assert [entry.trace_id for entry in reader.records(0)][20] == "new0"


async def _get(session: aiohttp.ClientSession, address: dict, path: str) -> tuple[int, str]:
    async with session.get(f"http://{address['host']}:{address['port']}{path}") as response:
        return response.status, await response.text()


async def _committed(settings: Settings) -> dict[int, int | None]:
    consumer = AIOKafkaConsumer(**settings.client_options, group_id=GROUP, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(TRACES.name, number) for number in range(settings.partitions)]
        consumer.assign(places)
        return {place.partition: await consumer.committed(place) for place in places}
    finally:
        await consumer.stop()


async def _publish_slowly(settings: Settings, records: int) -> None:
    for start in range(0, records, 100):
        await publish(settings, [f"t{number}" for number in range(start, start + 100)])
        await asyncio.sleep(0.1)


def _spawn(settings: Settings) -> subprocess.Popen[bytes]:
    environ = {
        "EDDY_BOOTSTRAP": settings.bootstrap,
        "EDDY_DATA_DIR": str(settings.data_dir),
        "EDDY_PARTITIONS": str(settings.partitions),
        "EDDY_LEARNER_PORT": "0",
    }
    code = "from stream.learner import main; from stream.settings import load; main(load())"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (settings.data_dir / "learner.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", code], env=os.environ | environ, stdout=log, stderr=log)
