"""A cycle's process as the learner sees it: its limits, and what is done where it does not come to an end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream.archive.schema import WriterLock
from stream.cycles import plan as plans
from stream.cycles.attempts import MOST_ATTEMPTS, Attempts, abort
from stream.cycles.ledger import Ledger
from stream.cycles.limits import resident_bytes
from stream.cycles.plan import Plan
from stream.cycles.process import run_process
from stream.cycles.states import STEPS, State
from stream.errors import NotOwnedError
from stream.records import CycleOrder, CycleRequested
from stream.settings import load

HOLDS = "import subprocess, sys, time; held = bytearray(60_000_000); print('held', flush=True); "
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc, as Linux has it")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan.of(load(data_dir=tmp_path))


@pytest.fixture
def ledger(plan: Plan):
    with Ledger(plan.ledger, time.time) as opened:
        opened.request(CycleRequested(cycle_id="c1", trigger="manual", requested_at=1.0))
        yield opened


def attempts(plan: Plan, ledger: Ledger, is_owner: Callable[[], bool] = lambda: True) -> Attempts:
    async def call(work: Callable[[Ledger], Any]) -> Any:
        return work(ledger)

    return Attempts(plan, call, is_owner)


def test_plan_arrives_in_the_other_process_as_it_was(plan: Plan) -> None:
    """Paths, arms and the fold's specification included."""
    assert plans.decode(plans.encode(plan)) == plan


@needs_proc
def test_memory_of_what_a_process_starts_counts() -> None:
    """Two processes of 60 MB each, one started by the other: an evaluator's command must not slip through the limit."""
    inner = f"inner = subprocess.Popen([sys.executable, '-c', {HOLDS + 'time.sleep(60)'!r}], stdout=subprocess.PIPE); inner.stdout.readline(); "
    outer = HOLDS + inner + "print('both', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        held = resident_bytes(process.pid)
        os.killpg(process.pid, signal.SIGKILL)

    assert 120_000_000 < held < 250_000_000
    assert resident_bytes(process.pid) == 0


@needs_proc
@pytest.mark.parametrize(("limit", "said"), [({"max_bytes": 1_000_000}, "EDDY_CYCLE_MAX_BYTES allows 1 MB"), ({"max_s": 0.0}, "EDDY_CYCLE_MAX_S allows 0 s")])
async def test_process_beyond_a_limit_is_killed_and_its_cycle_aborted(plan: Plan, ledger: Ledger, limit: dict[str, Any], said: str) -> None:
    """At once, and with the figures: a second process would go beyond it again."""
    assert await attempts(replace(plan, **limit), ledger).go_on()

    assert ledger.cycle("c1").state is State.ABORTED
    assert said in ledger.detail("c1", State.ABORTED)["said"]


async def test_process_that_dies_again_and_again_ends_its_cycle(plan: Plan, ledger: Ledger) -> None:
    """A cycle that nobody can go on with must not keep all others from running."""
    for _ in range(MOST_ATTEMPTS):
        ledger.begin_attempt("c1")

    assert await attempts(plan, ledger).go_on()
    assert f"died {MOST_ATTEMPTS} times" in ledger.detail("c1", State.ABORTED)["said"]
    assert not await attempts(plan, ledger).go_on()


async def test_settled_cycle_is_not_given_up(plan: Plan, ledger: Ledger) -> None:
    """What it promoted stays, so that it must end as what it is, however many processes died over it."""
    for state in STEPS:
        ledger.advance("c1", state, {}, kept={"cursor": "mined/*", "until": 7} if state is State.MINED else None)
    for _ in range(MOST_ATTEMPTS + 1):
        ledger.begin_attempt("c1")

    assert await attempts(plan, ledger).go_on()
    assert ledger.cycle("c1").state is State.COMPLETED
    assert ledger.mark("mined/*", "") == "7"


async def test_process_is_killed_once_its_learner_no_longer_holds_the_topic(plan: Plan, ledger: Ledger) -> None:
    """Another learner goes on; the cycle here stands where it stood."""
    began_s = time.monotonic()
    ended = await run_process(plan, "c1", is_wanted=lambda: False)

    assert ended.status == -9
    assert time.monotonic() - began_s < 5.0
    assert ledger.cycle("c1").state is State.REQUESTED


def test_cycle_is_not_aborted_under_the_hands_of_a_process(plan: Plan, ledger: Ledger) -> None:
    """Whoever moves a cycle holds the lock."""
    lock = WriterLock(plan.ledger)
    with pytest.raises(NotOwnedError):
        WriterLock(plan.ledger)
    abort(plan, ledger, "c1", "died")
    assert ledger.cycle("c1").state is State.REQUESTED
    lock.release()

    abort(plan, ledger, "c1", "died")
    assert ledger.cycle("c1").state is State.ABORTED


async def test_cancelling_kills_the_process_that_runs(plan: Plan, ledger: Ledger) -> None:
    """An evaluation may take an hour; the next process ends the cycle as cancelled."""
    running = asyncio.create_task(attempts(plan, ledger).go_on())
    ledger.order(CycleOrder(cycle_id="c1", order="cancel", given_at=1.0))

    await asyncio.wait_for(running, 20.0)
    assert ledger.runnable() is None or ledger.runnable().is_cancelled
