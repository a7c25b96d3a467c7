"""cycles -> [fire-cycles] -> cycles; watches the totals that update-routing has merged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from stream.agents.fire_cycles import FiringOffice
from stream.fold.totals import Sum, identity
from stream.records import CycleRequested
from tests.topology.chunks import Chunks, Worker, chunk, record

NOW_S = 1_700_000_040


def office(worker: Worker, *, unread_to: int = 0) -> FiringOffice:
    """The agent's office, as it is once `eddy.cycles` was assigned and read up to an offset, with 50 traces in the totals."""
    found: FiringOffice = next(owner for owner in worker.app.owners if isinstance(owner, FiringOffice))
    sums = list(identity())
    sums[Sum.COUNT] = 50
    book = SimpleNamespace(log_time_ms=NOW_S * 1000, totals=lambda: {(60, NOW_S - 120, 1): tuple(sums)})
    worker.app.routing_term = SimpleNamespace(desk=SimpleNamespace(book=book), is_ready=lambda _: True)  # type: ignore[assignment]
    found.asked, found._unread_to = set(), unread_to
    return found


def requested(cycle_id: str, at: float, **fields: Any) -> bytes:
    return msgspec.json.encode(CycleRequested(cycle_id=cycle_id, trigger="hand", requested_at=at, **fields))


async def read(worker: Worker, *values: bytes) -> None:
    records = [record(offset, value, topic="eddy.cycles") for offset, value in enumerate(values)]
    await worker.agent("fire-cycles").fun(Chunks(chunk("eddy.cycles", 0, *records)))


def test_fire_cycles_reads_what_was_asked_for(tmp_path: Path) -> None:
    """Its edge in the graph."""
    assert Worker(tmp_path).agent("fire-cycles").channel.topics == ("eddy.cycles",)


async def test_threshold_asks_for_a_cycle_once(tmp_path: Path) -> None:
    """Fifty traces and a threshold of fifty: one request on `eddy.cycles`, under its id, however often totals are looked at."""
    worker = Worker(tmp_path, cycle_after_traces=50)
    firing = office(worker)

    for _ in range(3):
        await firing.fire(0.0)

    ((key, value),) = worker.sent_to("eddy.cycles")
    said = msgspec.json.decode(value or b"", type=CycleRequested)
    assert (key, said.cycle_id, said.trigger, said.requested_at) == (b"new-traces-0", "new-traces-0", "new traces", float(NOW_S))


async def test_what_was_asked_for_before_is_not_asked_for_again(tmp_path: Path) -> None:
    """A new owner reads the topic first: its own request of before, or a person's, begins the count anew; an agent's own cycle does not."""
    worker = Worker(tmp_path, cycle_after_traces=50, cycle_cooldown_s=0.0)
    firing = office(worker, unread_to=1)
    await firing.fire(0.0)
    assert worker.sent_to("eddy.cycles") == []  # not read to its end yet

    await read(worker, requested("new-traces-0", NOW_S - 60.0))
    await firing.fire(0.0)
    assert worker.sent_to("eddy.cycles") == []

    other = Worker(tmp_path / "other", cycle_after_traces=50, cycle_cooldown_s=0.0)
    firing = office(other, unread_to=1)
    await read(other, requested("by-hand", NOW_S - 60.0, agent="researcher"))
    await firing.fire(0.0)
    assert len(other.sent_to("eddy.cycles")) == 1


async def test_nobody_asks_without_the_term_or_the_topic(tmp_path: Path) -> None:
    """A worker that does not decide the routing has no totals; one whose assignment has ended asks for nothing."""
    worker = Worker(tmp_path, cycle_after_traces=50)
    firing = office(worker)
    worker.app.routing_term = None
    await firing.fire(0.0)
    firing = office(worker)
    firing.revoked()
    await firing.fire(0.0)
    await read(worker, b"not json", requested("x", 1.0))

    assert worker.sent_to("eddy.cycles") == []
    assert await firing.recovered([("eddy.statistics", 0)]) == {}
