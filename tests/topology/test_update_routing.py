"""statistics, overrides, routing -> [update-routing] -> routing; keeps routing_state."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.topology.chunks import Chunks, Worker, chunk, record


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def test_update_routing_reads_what_it_decides_by(worker: Worker):
    """Its edges in the graph: totals, the operator's word, and its own topic for stale updates of others."""
    update_routing = worker.agent("update-routing")
    assert update_routing.channel.topics == ("eddy.statistics", "eddy.overrides", "eddy.routing")
    assert update_routing.concurrency == 1


async def test_update_routing_leaves_what_is_not_its_term(worker: Worker):
    """Without the assignment there is no desk, and a chunk that was fetched before it ended is nobody's."""
    await worker.agent("update-routing").fun(Chunks(chunk("eddy.overrides", 0, record(0, b"{}", topic="eddy.overrides"))))
    assert worker.sent == []
