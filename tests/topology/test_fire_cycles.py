"""cycles -> [fire-cycles] -> cycles; watches the totals that update-routing has merged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from stream.agents.fire_cycles import FiringOffice
from stream.fold.totals import Sum, identity
from stream.records import Arm, ArmStatistics, CycleRequested, PartitionStatistics
from tests.topology.chunks import Chunks, Worker, chunk, record

NOW_S = 1_700_000_040


def office(worker: Worker, *, unread_to: int = 0) -> FiringOffice:
    """The agent's office, as it is once `eddy.cycles` was assigned and read up to an offset, with 50 traces in the totals."""
    found: FiringOffice = next(owner for owner in worker.app.owners if isinstance(owner, FiringOffice))
    sums = list(identity())
    sums[Sum.COUNT] = 50
    arm = ArmStatistics(arm=Arm(model="m", agent="researcher"), buckets=((60, NOW_S - 120, 1, *sums),))
    total = PartitionStatistics(fold="f", partition=0, offset=1, log_time_ms=NOW_S * 1000, query_class="code", arms=(arm,))
    book = SimpleNamespace(log_time_ms=NOW_S * 1000, newest=lambda: [total])
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


async def test_agent_has_thresholds_and_a_cooldown_of_its_own(tmp_path: Path) -> None:
    """Fifty traces of the researcher: a cycle over it alone, once; one that a person asked for begins its cooldown, and so does one over all."""
    agents = {"*": {"traces": 50}, "coder": {"traces": 1}}
    for before in ((), (requested("by-hand", NOW_S - 60.0, agent="researcher"),), (requested("by-hand", NOW_S - 60.0),)):
        worker = Worker(tmp_path / str(before), cycle_agents=agents)
        firing = office(worker, unread_to=len(before))
        if before:
            await read(worker, *before)
        await firing.fire(0.0)
        await firing.fire(0.0)

        sent = [msgspec.json.decode(value or b"", type=CycleRequested) for _, value in worker.sent_to("eddy.cycles")]
        assert [(said.cycle_id, said.agent, said.trigger) for said in sent] == ([] if before else [("new-traces-researcher-0", "researcher", "new traces")])


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
