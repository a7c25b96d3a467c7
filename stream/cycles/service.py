"""Learning cycles in the learner's process: takes requests and persons' words off the topics, has one child process at a time do the work, announces what is done.

1. Own the one partition of `eddy.cycles`: of several learners the group lets one have it. It is read from its start at every assignment, which
   changes nothing of what is in the ledger already.
2. Beside it, read what else cycles heed: freezes on `eddy.overrides`, and how training jobs ended.
3. Once all three were read to their ends, and as long as the partition is held: have the oldest cycle that can go on do so, in a process of its own.
4. Send what the ledger says is to be sent, in order, and take it away once it is acknowledged: it may be announced twice.
5. Look at canaries, whatever a cycle's process is at: one that does badly is withdrawn at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from stream.cycles.attempts import Attempts
from stream.cycles.canaries import LOOK_S, look_at_all
from stream.cycles.following import follow_cycles, follow_others
from stream.cycles.ledger import Ledger
from stream.cycles.machine import Bench
from stream.cycles.outbox import announce
from stream.cycles.plan import Plan
from stream.errors import EddyError

if TYPE_CHECKING:
    from stream.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")
Part = Callable[[], Awaitable[None]]

IDLE_S = 0.2
"""Between two looks at whether there is something to do."""
RETRY_S = 2.0


class CycleService:
    """The learner's part in learning cycles.

    Args:
        settings: of the deployment.

    Attributes:
        owned: set while this learner holds `eddy.cycles` and has read it to its end.
        heard: set once the other topics were read to their ends.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._plan = settings, Plan.of(settings)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cycles")
        self.owned, self.heard = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled; a broker that is away is tried again. A ledger that cannot be read keeps cycles from running, and nothing else."""
        try:
            await self._kept_up(self._serve)
        finally:
            self._thread.shutdown()

    async def _serve(self) -> None:
        ledger = await self._in_thread(lambda: Ledger(self._plan.ledger, time.time))

        async def call(work: Callable[[Ledger], T]) -> T:
            return await self._in_thread(lambda: work(ledger))

        parts: tuple[Part, ...] = (
            lambda: follow_cycles(self._settings, call, self.owned),  # 1
            lambda: follow_others(self._settings, call, self.heard),  # 2
            lambda: self._work(call),  # 3
            lambda: announce(self._settings, call, self.owned),  # 4
            lambda: self._watch_canaries(call),  # 5
        )
        try:
            async with asyncio.TaskGroup() as group:  # unlike gather, waits for all of them to end in order
                for part in parts:
                    group.create_task(self._kept_up(part))
        finally:
            self._thread.submit(ledger.close)

    async def _kept_up(self, part: Part) -> None:
        from aiokafka.errors import KafkaError

        while True:
            try:
                await part()
            except (KafkaError, EddyError, OSError) as exc:
                logger.warning("learning cycles wait: %r; trying again in %g s", exc, RETRY_S)
            await asyncio.sleep(RETRY_S)

    async def _work(self, call: Callable[[Callable[[Ledger], T]], Awaitable[T]]) -> None:
        attempts = Attempts(self._plan, call, self.owned.is_set)
        while True:
            await self.owned.wait()
            await self.heard.wait()
            if not await attempts.go_on():
                await asyncio.sleep(IDLE_S)

    async def _watch_canaries(self, call: Callable[[Callable[[Ledger], None]], Awaitable[None]]) -> None:
        while True:
            await self.owned.wait()
            await self.heard.wait()
            await call(self._look)
            await asyncio.sleep(LOOK_S)

    def _look(self, ledger: Ledger) -> None:
        look_at_all(Bench(self._plan, ledger, time.time))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
