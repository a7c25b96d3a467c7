"""The kill and pause runs, in short; `python -m tests.faults.oracle` does them at length."""

import os

import pytest

from tests.conftest import ON_KAFKA
from tests.faults.oracle import Options, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("EDDY_TEST_BOOTSTRAP" in os.environ, reason="needs a broker of its own, which it may fill and drop: unset EDDY_TEST_BOOTSTRAP"),
]
BROKER = "kafka" if ON_KAFKA else "embedded"
SESSION_S = 3.0
"""Short: half of it, and the embedded broker's own three seconds, is what a restarted worker waits for."""


async def test_three_kills_leave_what_the_slow_fold_says(tmp_path):
    """P1 to P4: a worker killed while it folds loses nothing, counts nothing twice, and no bad record stops it."""
    result = await run(Options(kills=3, records=3_000, seed=11, session_s=SESSION_S, broker=BROKER, folder=tmp_path))
    assert {"kills": 3, "mismatches": 0, "lost": 0, "double_counted": 0}.items() <= result.items()
    assert result["records"] > 3_000


@pytest.mark.kafka_only
async def test_a_paused_worker_that_wakes_beside_its_successor_changes_nothing(tmp_path):
    """P1: a zombie's writes are as good as its successor's."""
    result = await run(Options(pauses=1, workers=2, records=3_000, seed=12, session_s=SESSION_S, broker=BROKER, folder=tmp_path))
    assert {"pauses": 1, "mismatches": 0, "lost": 0, "double_counted": 0}.items() <= result.items()


async def test_entries_that_leave_the_horizon_leave_it_in_every_life(tmp_path):
    """Rows that have left the join index must not come back from an old part of the changelog."""
    result = await run(Options(kills=1, records=3_000, seed=13, session_s=SESSION_S, horizon=150, broker=BROKER, folder=tmp_path))
    assert result["mismatches"] == 0
