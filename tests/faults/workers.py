"""Worker processes under the hand of a fault run: started, killed, paused, ended and asked what they hold.

What they fold, and whether it is right, is compared elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from stream import leash
from stream.addresses import running

READY_PATIENCE_S = 120.0
ANSWER_S = 2.0
POLL_S = 0.1
FOLDED_METRIC = "eddy_folded_records_total"
LAG_METRIC = "eddy_lag_records"
CRASH_STATUS = 70
"""The exit status of a worker that met what it does not know, or lost what it owned."""


class Worker:
    """One worker, over all its lives.

    Args:
        name: its instance name, which makes its membership static.
        folder: its data folder and its log.
        environ: its settings.
    """

    def __init__(self, name: str, folder: Path, environ: dict[str, str]) -> None:
        self.name, self.folder = name, folder
        self._environ = os.environ | environ | {"EDDY_DATA_DIR": str(folder), "EDDY_WORKER_PORT": "0", "EDDY_EXPOSE_STATE": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.paused = False
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def exit_status(self) -> int | None:
        """How it ended, or None while it runs."""
        return self._process.poll() if self._process else 0

    def start(self) -> None:
        """Begin a life."""
        with (self.folder / "worker.log").open("ab") as log:
            log.write(f"---- a life begins at {time.time():.3f}\n".encode())
            log.flush()
            command = [sys.executable, "-m", "stream", "worker"]
            self._process = leash.start(command, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.started_at = time.monotonic()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self.paused = False

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open and it knows of nothing."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def wake(self) -> None:
        """SIGCONT: what it was about to write, it writes now."""
        self._signal(signal.SIGCONT)
        self.paused = False

    async def leave(self, patience_s: float = 40.0) -> int | None:
        """SIGTERM; returns the exit status, None where it had to be killed."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while self.exit_status is None and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)
        status = self.exit_status
        self.kill()
        return status

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    async def ask(self, path: str, *, within_s: float = ANSWER_S) -> tuple[int, str] | None:
        """GET a path of its own web server; None where nothing answers."""
        with suppress(OSError, ValueError, KeyError, aiohttp.ClientError, asyncio.TimeoutError):
            *_, place = running(self.folder, "worker")
            timeout = aiohttp.ClientTimeout(total=within_s)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(place.url + path) as answer:
                return answer.status, await answer.text()
        return None

    async def is_ready(self) -> bool:
        """Whether it says that it holds its partitions and folds."""
        answer = await self.ask("/ready")
        return answer is not None and answer[0] == 200

    async def folded(self) -> int:
        """Records folded in this life, by its own metrics."""
        answer = await self.ask("/metrics")
        return int(metric(answer[1], FOLDED_METRIC)) if answer else 0

    async def lag(self) -> int | None:
        """Records that it has still to fold, by its own metrics; None where it does not answer."""
        answer = await self.ask("/metrics")
        return int(metric(answer[1], LAG_METRIC)) if answer else None

    async def states(self) -> dict[str, Any] | None:
        """The canonical state of each partition that it holds."""
        answer = await self.ask("/state", within_s=60.0)
        return json.loads(answer[1]) if answer and answer[0] == 200 else None

    async def ready(self, patience_s: float = READY_PATIENCE_S) -> float:
        """Wait until it is ready; returns the seconds since its life began.

        Raises:
            TimeoutError: it ended, or is not ready in time.
        """
        began = self.started_at
        while not await self.is_ready():
            if self.exit_status is not None or time.monotonic() - began > patience_s:
                waited_s = time.monotonic() - began
                raise TimeoutError(f"worker {self.name} is not ready {waited_s:.1f} s after its start (exit status {self.exit_status}): {last_words(self)}")
            await asyncio.sleep(POLL_S)
        return time.monotonic() - began


class Fleet:
    """The workers of a run; one that ends without being asked to is started again at once, and counted.

    Args:
        folder: each worker has a folder in it.
        environ: settings of all of them.
        patience: lives that may end unasked before the run is given up.
    """

    def __init__(self, folder: Path, environ: dict[str, str], *, patience: int = 50) -> None:
        self._folder, self._environ, self._patience = folder, environ, patience
        self.workers: dict[str, Worker] = {}
        self.crashes: list[tuple[str, int]] = []
        self._guard: asyncio.Task[None] | None = None

    def add(self, name: str) -> Worker:
        """Start a worker."""
        worker = self.workers[name] = Worker(name, self._folder / name, self._environ | {"EDDY_INSTANCE": name})
        worker.start()
        return worker

    async def dismiss(self, name: str, *, gently: bool) -> int | None:
        """End a worker, which is not started again; returns its exit status."""
        worker = self.workers.pop(name)
        if gently:
            return await worker.leave()
        worker.kill()
        return worker.exit_status

    def restart(self, worker: Worker) -> None:
        """Kill a worker and begin its next life at once."""
        worker.kill()
        worker.start()

    def guard(self) -> None:
        """From now on, start again what ends unasked."""
        self._guard = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        while len(self.crashes) <= self._patience:
            for worker in list(self.workers.values()):
                if (status := worker.exit_status) is not None:
                    self.crashes.append((worker.name, status))
                    say(f"worker {worker.name} ended by itself with status {status}; {last_words(worker)}")
                    worker.start()
            await asyncio.sleep(POLL_S)
        say(f"{len(self.crashes)} lives have ended unasked: no more are begun")

    def hold_up(self) -> None:
        """Say whether workers still live as they should.

        Raises:
            TimeoutError: too many lives have ended unasked.
        """
        if len(self.crashes) > self._patience:
            raise TimeoutError(f"{len(self.crashes)} lives have ended unasked, the last ones with {self.crashes[-3:]}")

    async def any_folding(self, rng: random.Random, patience_s: float = 180.0) -> Worker:
        """Wait for a worker that has folded since its start, any that does.

        Raises:
            TimeoutError: none does.
        """
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            self.hold_up()
            for worker in rng.sample(list(self.workers.values()), len(self.workers)):
                if not worker.paused and await worker.folded() > 0:
                    return worker
            await asyncio.sleep(POLL_S)
        raise TimeoutError(f"no worker has folded a record in {patience_s:.0f} s")

    async def close(self) -> None:
        """End all of them."""
        if self._guard:
            self._guard.cancel()
        for worker in self.workers.values():
            worker.kill()


def metric(text: str, name: str) -> float:
    """Add up a metric over its labels."""
    lines = (line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def last_words(worker: Worker) -> str:
    """The end of a worker's log."""
    lines = (worker.folder / "worker.log").read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:])[-600:]


def say(line: str) -> None:
    """Report progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
