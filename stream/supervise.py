"""Runs the whole loop on one machine: the broker, workers and the learner as child processes, watched and started again.

A life of the loop, which begins anew whenever the broker ends or has grown too large:
1. Start the embedded broker (none with `--broker`).
2. Put back what the archive holds, behind a log that was made first: clients that go on publishing write to it meanwhile.
3. Start the workers and the learner; start each again when it ends, after a growing delay.
4. Watch the broker. On a stop or a recycling, end the workers first, so that their last checkpoints are in the log; then the
   broker, once the learner has archived all of it; the learner last. What is published while the broker ends is lost.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from stream.children import Child
from stream.errors import EddyError

if TYPE_CHECKING:
    from stream.broker import EmbeddedBroker
    from stream.settings import Settings

WATCH_S = 1.0
"""Time between two looks at the broker's size."""
DRAIN_LOOK_S = 0.2
DRAIN_S = 20.0
"""How long the learner may take to archive what is in the log before it is ended all the same."""
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0


Beside = Callable[["Settings"], Awaitable[None]]
"""What is to run while the children do."""


class End(enum.Enum):
    """Why a life of the loop ended."""

    STOPPED = "stopped"
    BROKER_DIED = "the broker ended"
    BROKER_GREW = "the broker has grown too large"


class Supervisor:
    """The loop's processes on one machine.

    Args:
        settings: where the data folder is and, with `embedded` false, the broker.
        embedded: whether a broker of its own is started.
        workers: how many worker processes.
        environment: what every child finds in its environment beside this process's own.
        say: told what a person should know, a line at a time.
        beside: runs beside the children of every life, with the settings that they have.
    """

    def __init__(self, settings: Settings, *, embedded: bool, workers: int = 1, environment: Mapping[str, str], say: Callable[[str], None], beside: Beside | None = None) -> None:
        self._given = settings
        self._embedded = embedded
        self._workers = workers
        self._environment = dict(environment)
        self._say = say
        self._beside = beside
        self._broker: EmbeddedBroker | None = None
        self._children: list[Child] = []
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()
        """Set while the children run; clients may be let in."""
        self.settings = settings
        """The settings with the address of the broker that runs."""

    def stop(self) -> None:
        """Ask for an end in order; `run` returns once everything has ended. Asked a second time, kill what has not ended."""
        if self._stop.is_set():
            for child in self._children:
                child.kill()
        self._stop.set()

    async def run(self) -> None:
        """Run until `stop`.

        Raises:
            EddyError: the first start fails; a later one is tried again.
        """
        delay_s, first = FIRST_DELAY_S, True
        while not self._stop.is_set():
            try:
                end = await self._live()
            except EddyError as exc:
                if first:
                    raise
                self._say(f"start failed: {exc}; trying again in {delay_s:g} s")
                await self._pause(delay_s)
                delay_s = min(2 * delay_s, LONGEST_DELAY_S)
                continue
            first, delay_s = False, FIRST_DELAY_S
            if end is not End.STOPPED:
                self._say(f"{end.value}: everything starts again, with what the archive holds")

    async def _live(self) -> End:
        try:
            await self._start()
            self.ready.set()
            end = await self._watch_beside()
        except BaseException:
            await self._end(End.BROKER_DIED)
            raise
        await self._end(end)
        return end

    async def _start(self) -> None:
        from stream.provision import provision

        if self._embedded:
            await self._start_broker()
            await self._restore()
        await provision(self.settings)
        self._children = [*(self._child("worker", number) for number in range(1, self._workers + 1)), self._child("learner")]
        for child in self._children:
            child.start()

    async def _start_broker(self) -> None:
        from stream.broker import EmbeddedBroker
        from stream.provision import log_plan

        self._broker = EmbeddedBroker(self._given.data_dir, log=log_plan(self._given))
        bootstrap = await self._broker.start()
        self.settings = self._given.model_copy(update={"bootstrap": bootstrap})

    async def _restore(self) -> None:
        from stream.archive.restore import restore

        started_s = time.monotonic()
        restored = await restore(self.settings)
        if restored:
            self._say(f"put back {restored:,} records from the archive in {time.monotonic() - started_s:.1f} s")

    def _child(self, command: str, number: int | None = None) -> Child:
        name = command if number is None else f"{command}-{number}"
        environment = self._environment | {"EDDY_BOOTSTRAP": self.settings.bootstrap, "EDDY_DATA_DIR": str(self.settings.data_dir)}
        if number is not None:
            environment["EDDY_INSTANCE"] = name
        if number is not None and number > 1:
            environment["EDDY_WORKER_PORT"] = "0"
        return Child(name, command, environment=environment, log_path=self.settings.data_dir / "logs" / f"{name}.log", say=self._say)

    async def _watch_beside(self) -> End:
        beside = asyncio.ensure_future(self._beside(self.settings)) if self._beside is not None else None
        try:
            return await self._watch()
        finally:
            if beside is not None:
                beside.cancel()

    async def _watch(self) -> End:
        stopped = asyncio.create_task(self._stop.wait())
        broker = asyncio.create_task(self._watch_broker())
        done, pending = await asyncio.wait((stopped, broker), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return End.STOPPED if stopped in done else broker.result()

    async def _watch_broker(self) -> End:
        while True:
            await asyncio.sleep(WATCH_S)
            if self._broker is None:
                continue
            if self._broker.pid is None:
                return End.BROKER_DIED
            if self._broker.resident_bytes > self._given.broker_max_bytes:
                return End.BROKER_GREW

    async def _end(self, why: End) -> None:
        self.ready.clear()
        in_order = why is not End.BROKER_DIED and (self._broker is None or self._broker.pid is not None)
        workers, others = [c for c in self._children if c.command == "worker"], [c for c in self._children if c.command != "worker"]
        await asyncio.gather(*(child.end(in_order=in_order) for child in workers))
        if self._broker is not None:
            if in_order:
                await self._drain()
            self._broker.kill()  # at once, with the learner still reading: whoever goes on publishing loses milliseconds, not seconds
            self._broker = None
        await asyncio.gather(*(child.end(in_order=in_order) for child in others))
        self._children = []

    async def _drain(self) -> None:
        """Wait until the learner has archived and mirrored what stands in the log; the broker takes with it what is not."""
        from stream.draining import is_drained

        deadline_s = time.monotonic() + DRAIN_S
        while not (drained := await is_drained(self.settings)) and time.monotonic() < deadline_s and self._runs("learner"):
            await asyncio.sleep(DRAIN_LOOK_S)
        if not drained:
            why = f"has not archived all of the log within {DRAIN_S:g} s" if self._runs("learner") else "does not run"
            self._say(f"the learner {why}; what is not archived goes with the broker")

    def _runs(self, command: str) -> bool:
        return any(child.command == command and child.pid is not None for child in self._children)

    async def _pause(self, delay_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), delay_s)
