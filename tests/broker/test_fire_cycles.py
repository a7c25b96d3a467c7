"""A learning cycle that fires by itself: a worker's merged totals cross a threshold, and the request is on `eddy.cycles`, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream.provision import provision
from stream.records import CycleRequested
from stream.topics import CYCLES, TRACES
from tests.broker.test_worker import Loop
from tests.conftest import Broker
from tests.faults.readback import read_all

pytestmark = pytest.mark.slow

NEW = 60


async def requested(loop: Loop) -> list[CycleRequested]:
    records = (await read_all(loop.settings, CYCLES.name)).get(0, [])
    return [msgspec.json.decode(record.value, type=CycleRequested) for record in records if record.value]


@pytest.fixture
async def loop(fresh_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Loop]:
    monkeypatch.setenv("EDDY_CYCLE_AFTER_TRACES", "50")
    monkeypatch.setenv("EDDY_CYCLE_COOLDOWN_S", "0")
    loop = Loop(fresh_broker, tmp_path)
    await provision(loop.settings)
    yield loop
    await loop.fleet.close()


async def test_threshold_fires_one_cycle_and_a_restarted_worker_none(loop: Loop) -> None:
    """Sixty traces and a threshold of fifty: one request within half a minute, by the merged totals of four partitions.

    A worker that is killed and started anew has folded the same log: it reads that the cycle was asked for, and asks for no other.
    """
    worker = await loop.start()
    values = [msgspec.json.encode({"trace_id": f"t{number}", "query": "Sort a list", "model": "m", "outcome": "success"}) for number in range(NEW)]
    async with AIOKafkaProducer(**loop.settings.client_options) as producer:
        for number, value in enumerate(values):
            await producer.send_and_wait(TRACES.name, value, key=f"t{number}".encode())

    for _ in range(60):
        if found := await requested(loop):
            break
        await asyncio.sleep(0.5)
    assert [(cycle.cycle_id, cycle.trigger) for cycle in found] == [("new-traces-0", "new traces")]
    assert 50 <= found[0].evidence["new_traces"] <= NEW

    loop.fleet.restart(worker)
    await worker.ready()
    await asyncio.sleep(5.0)
    assert len(await requested(loop)) == 1
