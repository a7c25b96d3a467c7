"""The processes that are measured: started on a leash, asked how far they are, and how much processor time they have used."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from stream import leash
from stream.addresses import running

READY_S = 120.0
POLL_S = 0.05
BUSY_POLL_S = 0.25
"""Between two looks at a process that is busy: to answer costs it time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How far a process was, when.

    Attributes:
        records: done so far.
        at_s: epoch seconds.
    """

    records: int
    at_s: float


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, in seconds; 0 where there is none."""
    with suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def resident_bytes(pid: int) -> int:
    """Memory that a process holds."""
    return int(psutil.Process(pid).memory_info().rss)


def say(line: str) -> None:
    """Report progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


class Program:
    """A process with a log.

    Args:
        name: of its log.
        command: what it runs.
        folder: where its log stands.
        environ: what it finds beside this process's environment.
    """

    def __init__(self, name: str, command: Sequence[str], *, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name, self.folder = name, folder
        self._command, self._environ = list(command), os.environ | dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, **options: int) -> None:
        """Start it."""
        with self.log_path.open("ab") as log:
            given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log} | options
            self._process = leash.start(self._command, env=self._environ, **given)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self, patience_s: float = 20.0) -> int:
        """Ask it to end, and kill it if it does not; returns its status."""
        if self._process is None:
            return 0
        self._process.terminate() if self.runs else None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self.kill()
        return self._process.returncode


class Script(Program):
    """A program that says on its output, a JSON object a line, how many `records` it has done and `at` which epoch second."""

    def start(self, **options: int) -> None:
        """Start it, its output to us."""
        super().start(stdout=subprocess.PIPE, **options)

    async def samples(self) -> AsyncIterator[Sample]:
        """What it says, until it ends."""
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await asyncio.to_thread(self._process.stdout.readline):
            if line.startswith(b'{"records"'):
                said = json.loads(line)
                yield Sample(said["records"], said["at"])
        self._process.wait()


class Service(Program):
    """A process of Eddy's, `python -m stream COMMAND`, which answers on its own port.

    Args:
        command: `worker` or `learner`.
        folder: its data folder.
        environ: its settings.
        progress: the metric that counts what it has done, or none where nothing is to be sampled.
    """

    def __init__(self, command: str, folder: Path, environ: Mapping[str, str], *, progress: str = "eddy_folded_records_total") -> None:
        ports = {"EDDY_WORKER_PORT": "0", "EDDY_LEARNER_PORT": "0", "EDDY_DATA_DIR": str(folder)}
        super().__init__(command, [sys.executable, "-m", "stream", command], folder=folder, environ=dict(environ) | ports)
        self._progress = progress

    @property
    def serves(self) -> bool:
        """Whether it has said where it serves."""
        return bool(running(self.folder, self.name))

    async def ask(self, path: str, *, within_s: float = 5.0) -> tuple[int, str] | None:
        """GET a path; None where nothing answers."""
        with suppress(OSError, ValueError, KeyError, aiohttp.ClientError, asyncio.TimeoutError):
            *_, place = running(self.folder, self.name)
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=within_s)) as session, session.get(place.url + path) as answer:
                return answer.status, await answer.text()
        return None

    async def ready(self, patience_s: float = READY_S) -> None:
        """Wait until it says that it is ready.

        Raises:
            TimeoutError: it does not, or has ended.
        """
        deadline_s = time.monotonic() + patience_s
        while (answer := await self.ask("/ready")) is None or answer[0] != 200:
            if not self.runs or time.monotonic() > deadline_s:
                raise TimeoutError(f"{self.name} was not ready within {patience_s:g} s; see {self.log_path}")
            await asyncio.sleep(POLL_S)

    async def metrics(self) -> dict[str, float]:
        """Its metrics, each added up over its labels; empty where nothing answers."""
        answer = await self.ask("/metrics")
        return read_metrics(answer[1]) if answer else {}

    async def samples(self) -> AsyncIterator[Sample]:
        """How far it is, from its first record on, until it ends."""
        while self.runs:
            found = await self.metrics()
            if records := int(found.get(self._progress, 0)):
                yield Sample(records, found.get("eddy_last_progress_timestamp_seconds") or time.time())
            await asyncio.sleep(BUSY_POLL_S if records else POLL_S)

    async def settle(self, metric: str, still_s: float = 0.3) -> dict[str, float]:
        """Wait until a metric has stopped changing; returns the metrics."""
        before, found = -1.0, await self.metrics()
        while found.get(metric, 0.0) != before:
            before = found.get(metric, 0.0)
            await asyncio.sleep(still_s)
            found = await self.metrics() or found
        return found


def read_metrics(text: str) -> dict[str, float]:
    r"""Add up Prometheus' text form over labels.

    Example:
        >>> read_metrics('# HELP a b\na{x="1"} 2.0\na{x="2"} 3.0\n')
        {'a': 5.0}
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found
