"""traces -> [observe] -> statistics, dead letters, forwards; writes checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream.fold.checkpoint import recover
from stream.fold.totals import Sum
from stream.reading.partitioning import partition_of
from stream.worker import fatal
from stream.worker.holdings import HeldPartition
from tests.topology.chunks import Chunks, EndOfProcess, Worker, chunk, record

TRACE_IDS = [name for name in (f"t{n}" for n in range(100)) if partition_of(name.encode(), 4) == 0]
"""Trace ids that belong to partition 0 of 4."""


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    worker = Worker(tmp_path)
    state, changelog = recover({}, number=0, spec=worker.app.spec)
    worker.app.checkpoints.holdings.hold(HeldPartition(state=state, changelog=changelog))
    return worker


def held(worker: Worker) -> HeldPartition:
    found = worker.app.checkpoints.holdings.get(0)
    assert found is not None
    return found


def trace(offset: int, trace_id: str | None = None):
    name = trace_id or TRACE_IDS[offset]
    return record(offset, {"trace_id": name, "query": "hi", "model": "m", "outcome": "success"}, key=name.encode())


def test_observe_reads_the_traces_alone(worker: Worker):
    """Its edge in the graph; a second instance would fold the same chunk out of order."""
    observe = worker.agent("observe")
    assert observe.channel.topics == ("eddy.traces",)
    assert observe.concurrency == 1


async def test_observe_folds_a_chunk_and_publishes_its_totals(worker: Worker):
    """Two traces and a copy of the first: two count, and routers hear of both at once."""
    await worker.agent("observe").fun(Chunks(chunk("eddy.traces", 0, trace(0), trace(1), trace(2, TRACE_IDS[0]))))
    assert (held(worker).state.offset, held(worker).state.counters.traces, held(worker).state.counters.duplicates) == (2, 2, 1)
    ((key, value),) = worker.sent_to("eddy.statistics")
    assert key == f"{worker.app.spec.id}/0/short".encode()
    assert sum(row[3 + Sum.COUNT] for arm in json.loads(value or b"")["arms"] for row in arm["buckets"]) == 2


async def test_observe_sends_on_what_it_cannot_fold(worker: Worker):
    """Garbage becomes a dead letter and a misplaced record goes home; the trace between them counts."""
    stray = next(name for name in (f"s{n}" for n in range(100)) if partition_of(name.encode(), 4) == 3)
    await worker.agent("observe").fun(Chunks(chunk("eddy.traces", 0, record(0, b"garbage"), trace(1), record(2, {"trace_id": stray, "model": "m"}, key=None))))
    ((_, letter),) = worker.sent_to("eddy.traces.dlt")
    ((key, _),) = worker.sent_to("eddy.traces")
    assert (letter, key, held(worker).state.counters.traces) == (b"garbage", stray.encode(), 1)
    assert len(held(worker).effects) == 2, "a checkpoint awaits both"


async def test_observe_leaves_chunks_of_an_ended_assignment(worker: Worker):
    """Its successor folds them; folding them here would fold them into a state that is not this worker's any more."""
    await worker.agent("observe").fun(Chunks(chunk("eddy.traces", 0, trace(0), generation=6), chunk("eddy.traces", 1, trace(0))))
    assert held(worker).state.offset == -1
    assert worker.sent == []


async def test_observe_ends_the_process_on_what_it_does_not_know(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    """Faust acknowledges an event whose agent raised: the chunk would be gone. An error must not leave the agent's body."""
    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        raise EndOfProcess

    monkeypatch.setattr(fatal.os, "_exit", end)
    broken = record(0, b"x")
    del broken.timestamp
    with pytest.raises(EndOfProcess):
        await worker.agent("observe").fun(Chunks(chunk("eddy.traces", 0, broken)))
    assert ended == [70]
