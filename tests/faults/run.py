"""What the fault runs are made of: a broker, a publisher that keeps pace with the faults, a fleet of workers, and the faults themselves."""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from stream import leash
from stream.settings import Settings, load
from tests.faults.log import write_log
from tests.faults.workers import Fleet, Worker, say

MAX_RECORD_BYTES = 20_000
"""Small, so that the log can hold records above it."""
FIRST_GUESS_S = 8.0
"""How long a fault and what follows it take, before any was seen."""


class Broker(Protocol):
    """A broker that the run owns."""

    @property
    def bootstrap(self) -> str:
        """Its address."""

    async def start(self) -> str:
        """Start it, empty."""

    async def stop(self) -> None:
        """End it."""


COMMON = {"partitions": 8, "max_record_bytes": MAX_RECORD_BYTES, "checkpoint_interval_s": 0.25, "keep_minutes": 2, "routing_max_staleness_s": 3.0, "expose_state": True}
COMMON |= {"silence": "failure", "silence_s": 1}
"""Settings of every run: checkpoints, the ageing of buckets and silence happen often, and workers show what they hold."""


def settings_for(bootstrap: str, **given: object) -> Settings:
    """The settings of a run, for worker and harness alike."""
    return load(**(COMMON | {"bootstrap": bootstrap} | given))


def environ_of(settings: Settings) -> dict[str, str]:
    """The same settings as a worker's environment."""
    return {f"EDDY_{field.upper()}": str(getattr(settings, field)) for field in ("bootstrap", "horizon", "session_timeout_s", "max_classes", "max_arms", *COMMON)}


class Publisher:
    """The process that publishes, and how far it has come.

    Args:
        settings: where to.
        traces: distinct traces of its log.
        seed: of its log.
        folder: holds its complaints.
        idempotent: whether the broker knows idempotent producers.
    """

    def __init__(self, settings: Settings, *, traces: int, seed: int, folder: Path, idempotent: bool) -> None:
        self.now_s = float(math.floor(time.time()))
        self._settings, self._traces, self._seed, self._folder, self._idempotent = settings, traces, seed, folder, idempotent
        self.log = {"traces": traces, "seed": seed, "partitions": settings.partitions, "now_s": self.now_s}
        self.total = sum(1 for _ in write_log(**self.log))  # type: ignore[arg-type]
        self.published = 0
        self.ended = False

    def start(self) -> None:
        """Start the process, which waits for a first target."""
        options = {"bootstrap": self._settings.bootstrap, "traces": self._traces, "seed": self._seed, "partitions": self._settings.partitions, "now": self.now_s}
        command = [sys.executable, "-m", "tests.faults.publish", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
        command += ["--idempotent"] * self._idempotent
        with (self._folder / "publisher.log").open("wb") as log:
            self._process = leash.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1)

    async def reach(self, share: float) -> None:
        """Publish until that share of the log, in [0, 1], is out and acknowledged; a share of 1 ends it.

        Raises:
            RuntimeError: the process has died.
        """
        target = int(self.total * share) if share < 1 else self.total + 1
        if target <= self.published or self.ended:
            return
        answer = await asyncio.to_thread(self._tell, target)
        if not answer:
            raise RuntimeError(f"the publisher ended after {self.published} of {self.total} records; see {self._folder / 'publisher.log'}")
        self.published = int(answer.split()[0])
        self.ended = "ended" in answer

    def _tell(self, target: int) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{target}\n")
        return self._process.stdout.readline()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class Faults:
    """Kills, pauses, and workers that come and go, until as many have happened as were asked for.

    A kill or pause counts only when it hits a worker that has folded since its start. While they happen, `pace` publishes: as much
    of the log is out as of the faults is done, so that every one of them meets a log that is being written.

    Args:
        fleet: the workers.
        publisher: what publishes.
        kills: SIGKILLs asked for.
        pauses: SIGSTOPs asked for, each longer than a session.
        session_s: after which the broker takes a silent worker's partitions away.
        rng: chooses the moments and the victims.
    """

    def __init__(self, fleet: Fleet, publisher: Publisher, *, kills: int, pauses: int, session_s: float, rng: random.Random) -> None:
        self.fleet, self.publisher, self.rng, self._session_s = fleet, publisher, rng, session_s
        self.plan = ["kill"] * kills + ["pause"] * pauses
        rng.shuffle(self.plan)
        self.kills = self.pauses = self.visits = self.early_kills = 0
        self.recoveries_s: list[float] = []
        self._began = time.monotonic()
        self._cycle_s = FIRST_GUESS_S
        self._waiting: set[asyncio.Task[None]] = set()

    async def happen(self) -> None:
        """Do all of them."""
        pacer = asyncio.create_task(self._pace())
        try:
            for number, fault in enumerate(self.plan):
                if number % 10 == 5:
                    self._in_background(self._visit(f"guest-{number}"))
                await self._first_of(pacer, self._kill() if fault == "kill" else self._pause())
                self._cycle_s = 0.7 * self._cycle_s + 0.3 * (time.monotonic() - self._began)
                self._began = time.monotonic()
                out = f"{self.publisher.published} of {self.publisher.total} records out"
                say(f"{self.kills} kills, {self.pauses} pauses, {self.visits} visits; {out}; {len(self.fleet.crashes)} ends unasked")
            await self._settle()
        finally:
            pacer.cancel()
            for task in self._waiting:
                task.cancel()
        await self.publisher.reach(1.0)

    async def _settle(self) -> None:
        if self._waiting:
            await asyncio.gather(*self._waiting)

    async def _first_of(self, pacer: asyncio.Task[None], fault: object) -> None:
        task = asyncio.ensure_future(fault)  # type: ignore[call-overload]
        await asyncio.wait({pacer, task}, return_when=asyncio.FIRST_COMPLETED)
        if pacer.done():
            pacer.result()
        await task

    async def _pace(self) -> None:
        while True:
            done = self.kills + self.pauses
            part = 1 - math.exp(-(time.monotonic() - self._began) / self._cycle_s)
            await self.publisher.reach(min((done + part) / max(len(self.plan), 1), 0.999))
            await asyncio.sleep(0.1)

    async def _kill(self) -> None:
        """Kill a worker that folds, at a random moment; it is restarted at once, sometimes twice: the second hits a recovery."""
        while True:
            worker = await self.fleet.any_folding(self.rng)
            life = worker.started_at
            await asyncio.sleep(self.rng.uniform(0, 2.0))
            if worker.exit_status is None and self._lives(worker, life):
                break
        self.fleet.restart(worker)
        self.kills += 1
        if self.rng.random() < 0.2:
            await asyncio.sleep(self.rng.uniform(0.5, 4.0))
            self.fleet.restart(worker)
            self.early_kills += 1
        self._in_background(self._time_recovery(worker))

    async def _pause(self) -> None:
        """Stop a worker that folds for longer than its session, and let it go on: what it writes then, a zombie writes."""
        worker = await self.fleet.any_folding(self.rng)
        await asyncio.sleep(self.rng.uniform(0, 1.0))
        worker.pause()
        await asyncio.sleep(self._session_s * 1.3 + self.rng.uniform(1.0, 6.0))
        worker.wake()
        self.pauses += 1
        await asyncio.sleep(self.rng.uniform(0.5, 3.0))

    async def _visit(self, name: str) -> None:
        """A worker joins, and leaves in order or by its death."""
        guest = self.fleet.add(name)
        try:
            await guest.ready(60.0)
        except TimeoutError as exc:
            say(f"a guest never became ready: {exc}")
        await asyncio.sleep(self.rng.uniform(0, 6.0))
        gently = self.rng.random() < 0.7
        status = await self.fleet.dismiss(name, gently=gently)
        self.visits += 1
        if gently and status != 0:
            say(f"guest {name} was asked to leave and ended with status {status}")

    async def _time_recovery(self, worker: Worker) -> None:
        life = worker.started_at
        while (living := self._lives(worker, life)) and not await worker.is_ready():
            await asyncio.sleep(0.1)
        if living:
            self.recoveries_s.append(time.monotonic() - life)

    def _lives(self, worker: Worker, life: float) -> bool:
        return worker.started_at == life and not worker.paused and self.fleet.workers.get(worker.name) is worker

    def _in_background(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
