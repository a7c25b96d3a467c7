"""Worker processes on a real broker: whatever happens to them, the state equals a single-threaded fold of the log (promises P1 to P5)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from stream.fold.spec import FoldSpec
from stream.provision import provision
from stream.record_batches import read_by_batch
from stream.records import RoutingUpdate
from stream.settings import Settings
from stream.topics import DEAD_LETTERS, ROUTING, TRACES
from tests.conftest import Broker
from tests.faults import compare
from tests.faults.folding import fold_slowly
from tests.faults.judge import drain, recovered_states, settled, standing_totals
from tests.faults.log import Sent, write_log
from tests.faults.readback import newest, read_all
from tests.faults.run import environ_of, settings_for
from tests.faults.workers import Fleet, Worker

pytestmark = pytest.mark.slow

NOW_S = 1_767_000_000.0
"""When the test logs say they were written."""


class Loop:
    """A deployment without its learner: settings, a fleet of workers, and a way to publish."""

    def __init__(self, broker: Broker, folder: Path, **given: Any) -> None:
        self.settings: Settings = settings_for(broker.bootstrap, data_dir=folder / "harness", partitions=4, **given)
        self.fleet = Fleet(folder, environ_of(self.settings))

    async def start(self, name: str = "worker-0") -> Worker:
        worker = self.fleet.add(name)
        await worker.ready()
        return worker

    async def publish(self, records: Iterable[Sent]) -> None:
        async with AIOKafkaProducer(**self.settings.client_options, linger_ms=5) as producer:
            sent = [await producer.send(TRACES.name, record.value, key=record.key, partition=record.partition, timestamp_ms=record.timestamp_ms) for record in records]
            await asyncio.gather(*sent)

    async def must_equal_the_fold(self) -> None:
        """Compare everything that the workers left behind with the log as the broker gives it back."""
        held = await drain(self.settings, self.fleet)
        log = await read_all(self.settings, TRACES.name)
        expected = await asyncio.to_thread(fold_slowly, log, FoldSpec.of(self.settings))
        letters = [letter for partition in (await read_all(self.settings, DEAD_LETTERS.name)).values() for letter in partition]
        assert compare.compare_states(expected.states, held, "the workers") == []
        assert compare.compare_dead_letters(expected.refused, log, letters) == []
        assert compare.compare_forwards(expected.misplaced, log) == []
        assert await settled(lambda: self._not_durable(expected.states)) == []
        assert await settled(lambda: self._not_said(expected.totals)) == []

    async def _not_durable(self, states: dict[int, Any]) -> list[str]:
        return compare.compare_states(states, await recovered_states(self.settings), "the changelog")

    async def _not_said(self, totals: Any) -> list[str]:
        return compare.compare_statistics(totals, await standing_totals(self.settings))


@pytest.fixture
async def loop(fresh_broker: Broker, tmp_path: Path):
    loop = Loop(fresh_broker, tmp_path)
    await provision(loop.settings)
    yield loop
    await loop.fleet.close()


def log(traces: int, seed: int) -> list[Sent]:
    """Traces with duplicates, late and revised feedback, decisions, garbage and misplaced records among them."""
    return list(write_log(traces, seed=seed, partitions=4, now_s=NOW_S))


async def test_worker_killed_twice_leaves_the_fold_of_the_log(loop: Loop):
    """SIGKILL at any moment loses nothing and counts nothing twice; what cannot be folded is found elsewhere, with its coordinates."""
    records = log(600, seed=1)
    worker = await loop.start()
    for third in range(3):
        await loop.publish(records[third * len(records) // 3 : (third + 1) * len(records) // 3])
        if third < 2:
            loop.fleet.restart(worker)
            await worker.ready()
    await loop.must_equal_the_fold()


async def test_routes_arrive_and_a_fresh_reader_ends_on_the_newest(loop: Loop):
    """Each class has a route, of the greatest version ever published for it, over a restart of the owner too."""
    worker = await loop.start()
    await loop.publish(log(300, seed=2))
    await loop.must_equal_the_fold()
    assert await worker.leave() == 0
    worker.start()
    await worker.ready()
    await loop.publish(log(300, seed=3))
    await loop.must_equal_the_fold()
    assert await settled(lambda: _stale_routes(loop.settings)) == []


async def test_workers_hand_partitions_over(loop: Loop):
    """A second worker takes half, the first one leaves in order: both times the new owner goes on where the old one was durable."""
    first = await loop.start("worker-0")
    await loop.publish(log(200, seed=4))
    await loop.start("worker-1")
    await loop.publish(log(200, seed=5))
    await loop.must_equal_the_fold()
    assert await loop.fleet.dismiss(first.name, gently=True) == 0
    await loop.publish(log(200, seed=6))
    await loop.must_equal_the_fold()


async def test_log_made_anew_is_noticed_and_numbered_on(loop: Loop):
    """Somebody deletes the topic: what was learned stays, new records count though their offsets were seen before, and late feedback still finds its trace."""
    records = log(200, seed=7)
    worker = await loop.start()
    await loop.publish(records)
    before = await drain(loop.settings, loop.fleet)
    assert await worker.leave() == 0
    await _make_anew(loop.settings)
    await loop.publish([*records, *log(200, seed=8)])
    worker.start()
    await worker.ready()
    after = await drain(loop.settings, loop.fleet)
    assert {state["epoch"] for state in after.values()} == {1}
    traces = {number: state["counters"]["traces"] - before[number]["counters"]["traces"] for number, state in after.items()}
    duplicates = {number: state["counters"]["duplicates"] - before[number]["counters"]["duplicates"] for number, state in after.items()}
    assert all(count > 20 for count in traces.values()), "the new traces count"
    assert sum(duplicates.values()) >= sum(state["counters"]["traces"] for state in before.values()), "those of the old log are known"


async def _stale_routes(settings: Settings) -> list[str]:
    records = (await read_all(settings, ROUTING.name)).get(0, [])
    updates = [msgspec.json.decode(record.value, type=RoutingUpdate) for record in records if record.value is not None]
    ends = {key.decode(): msgspec.json.decode(record.value or b"", type=RoutingUpdate) for key, record in newest(records).items()}
    return compare.compare_routes(updates, ends, (await standing_totals(settings)).values())


async def _make_anew(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**settings.client_options)
    await admin.start()
    await admin.delete_topics([TRACES.name])
    await admin.close()
    await asyncio.sleep(1.0)
    await provision(settings)


class RawName(str):
    """A header name that is sent in Latin-1, whatever it says."""

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"caf\xe9"


async def test_header_name_that_is_not_utf8_stops_no_partition(loop: Loop, monkeypatch: pytest.MonkeyPatch):
    """Clients of librdkafka can send one and no broker refuses it; what stands before it in the same fetch counts too."""
    read_by_batch()  # aiokafka's own parser ends at such a name, in this test's audit too
    for module in ("producer", "message_accumulator"):
        monkeypatch.setattr(f"aiokafka.producer.{module}.DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    values = [b'{"trace_id": "t%d", "query": "hi", "model": "m", "outcome": "success"}' % number for number in range(40)]
    async with AIOKafkaProducer(**loop.settings.client_options, linger_ms=50) as producer:
        headers = [("good", b"1")], [(RawName("name"), b"\xe9")]
        await asyncio.gather(*[await producer.send(TRACES.name, value, key=b"t%d" % number, headers=headers[number % 7 == 3]) for number, value in enumerate(values)])

    await loop.start()
    await loop.must_equal_the_fold()

    states = await recovered_states(loop.settings)
    assert sum(state["counters"]["traces"] for state in states.values()) == 40
