"""Having a process go on with the oldest cycle that can, and what is done where that process does not come to an end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from stream import metrics
from stream.archive.schema import WriterLock
from stream.cycles.entries import Cycle
from stream.cycles.ledger import Ledger
from stream.cycles.machine import Bench
from stream.cycles.plan import Plan
from stream.cycles.process import LOG_FILE, Ended, run_process
from stream.cycles.promoting import discard
from stream.cycles.states import State, is_transition_valid
from stream.errors import NotOwnedError

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""Processes that may die in one step, before the cycle is aborted."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 60.0
CANCEL_LOOK_S = 0.2

Call = Callable[[Callable[[Ledger], Any]], Awaitable[Any]]
"""Does something with the ledger, in the thread that has it open."""


class Attempts:
    """Starts processes, one after another.

    Args:
        plan: of the deployment.
        call: does something with the ledger.
        is_owner: whether this learner still holds the topic; once it does not, the process is killed.
    """

    def __init__(self, plan: Plan, call: Call, is_owner: Callable[[], bool]) -> None:
        self._plan, self._call, self._is_owner = plan, call, is_owner
        self._delay_s = FIRST_DELAY_S

    async def go_on(self) -> bool:
        """Have one process do what there is to do; returns whether there was anything."""
        cycle: Cycle | None = await self._call(lambda ledger: ledger.runnable())
        if cycle is None and not await self._call(lambda ledger: ledger.has_words()):
            return False
        if cycle is not None and await self._has_died_often(cycle):
            await self._abort(cycle.cycle_id, f"its process died {MOST_ATTEMPTS} times in the step after {cycle.state}; {LOG_FILE} in the logs says how")
            return True
        ended = await self._run(cycle.cycle_id if cycle else "")
        if cycle is not None and ended.overrun:
            await self._abort(cycle.cycle_id, f"{ended.overrun}, in the step after {(await self._state_of(cycle)).value}")
        await self._pace(ended)
        return True

    async def _has_died_often(self, cycle: Cycle) -> bool:
        """Count another process; whether there were so many that the cycle is given up. One that is settled is not: what it promoted stays, so it must end as what it is."""
        attempts: int = await self._call(lambda ledger: ledger.begin_attempt(cycle.cycle_id))
        return attempts > MOST_ATTEMPTS and is_transition_valid(cycle.state, State.ABORTED)

    async def _run(self, cycle_id: str) -> Ended:
        cancelled = asyncio.Event()
        watching = asyncio.create_task(self._watch_cancel(cycle_id, cancelled)) if cycle_id else None
        metrics.CYCLE_RUNNING.set(1)
        try:
            ended = await run_process(self._plan, cycle_id, is_wanted=lambda: self._is_owner() and not cancelled.is_set())
        finally:
            metrics.CYCLE_RUNNING.set(0)
            if watching is not None:
                watching.cancel()
        metrics.CYCLE_PROCESS_SECONDS.observe(ended.seconds)
        metrics.CYCLE_PEAK_BYTES.set(ended.peak_bytes)
        return ended

    async def _watch_cancel(self, cycle_id: str, cancelled: asyncio.Event) -> None:
        """See when a person cancels the cycle; one that was cancelled before its process began is ended by that process itself."""
        before = (await self._call(lambda ledger: ledger.cycle(cycle_id))).is_cancelled
        while not before and not cancelled.is_set():
            await asyncio.sleep(CANCEL_LOOK_S)
            if (await self._call(lambda ledger: ledger.cycle(cycle_id))).is_cancelled:
                cancelled.set()

    async def _pace(self, ended: Ended) -> None:
        """After a process that failed, wait for longer every time."""
        if ended.status == 0 or ended.overrun:
            self._delay_s = FIRST_DELAY_S
            return
        logger.warning("a cycle's process ended with status %d after %.1f s", ended.status, ended.seconds)
        await asyncio.sleep(self._delay_s)
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)

    async def _state_of(self, cycle: Cycle) -> State:
        now: Cycle = await self._call(lambda ledger: ledger.cycle(cycle.cycle_id))
        return now.state

    async def _abort(self, cycle_id: str, reason: str) -> None:
        """End a cycle whose process cannot; what it had begun to promote is finished by the next one."""
        logger.error("cycle %s is aborted: %s", cycle_id, reason)
        await self._call(lambda ledger: abort(self._plan, ledger, cycle_id, reason))


def abort(plan: Plan, ledger: Ledger, cycle_id: str, reason: str) -> None:
    """End a cycle as aborted, under the lock; nothing where it is settled, or another process is at work."""
    try:
        lock = WriterLock(plan.ledger)
    except NotOwnedError:
        return
    try:
        cycle = ledger.cycle(cycle_id)
        if is_transition_valid(cycle.state, State.ABORTED):
            discard(Bench(plan, ledger, time.time), cycle, reason)
            ledger.advance(cycle_id, State.ABORTED, {"said": reason})
    finally:
        lock.release()
