"""The whole loop of one machine, `eddy up`, killed with its broker and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.broker import SETTINGS_OF, Ground
from benchmarks.fill import fill
from benchmarks.processes import Program, Service, say
from stream.broker import remembered_port
from stream.draining import is_drained
from stream.settings import load

READY_S = DRAIN_S = 180.0


class Loop:
    """`eddy up` on one data folder.

    Args:
        folder: its data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environ = {f"EDDY_{name.upper()}": str(value) for name, value in SETTINGS_OF["embedded"].items()} | {"EDDY_LEARNER_PORT": "0", "EDDY_WORKER_PORT": "0"}
        self._up = Program("up", [sys.executable, "-m", "stream", "up", "--data-dir", str(folder)], folder=folder, environ=os.environ | environ)
        self.worker = Service("worker", folder, {})

    async def start(self) -> float:
        """Start it; returns the seconds until its worker is ready."""
        began_s = time.monotonic()
        self._up.start()
        while (answer := await self.worker.ask("/ready")) is None or answer[0] != 200:
            if not self._up.runs or time.monotonic() - began_s > READY_S:
                raise TimeoutError(f"`eddy up` is not ready after {time.monotonic() - began_s:.0f} s; see {self._up.log_path}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began_s

    @property
    def where(self) -> Ground:
        """Its broker, as a publisher meets it."""
        settings = load(bootstrap=f"127.0.0.1:{remembered_port(self.folder)}", data_dir=self.folder, **SETTINGS_OF["embedded"])
        return Ground(kind="embedded", pid=self._up.pid, folder=self.folder, settings=settings)

    def kill(self) -> None:
        """SIGKILL to all of its processes at once."""
        if not self._up.runs:
            return
        supervisor = psutil.Process(self._up.pid)
        family = [supervisor, *supervisor.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self._up.kill()
        psutil.wait_procs(family, timeout=10)


async def restart_seconds(folder: Path, traces: int) -> float:
    """Publish so many traces to a loop, kill it once all is archived, and start it again; returns the seconds until it is ready."""
    loop = Loop(folder)
    try:
        await loop.start()
        where = loop.where
        await fill(where, "8x6", traces)
        await _archived(where)
        loop.kill()
        seconds = await loop.start()
    finally:
        loop.kill()
    say(f"embedded: ready {seconds:.2f} s after a restart with {traces:,} traces")
    return seconds


async def _archived(where: Ground) -> None:
    deadline_s = time.monotonic() + DRAIN_S
    while not await is_drained(where.settings):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the learner has not archived the log within {DRAIN_S:g} s; see {where.folder / 'logs'}")
        await asyncio.sleep(0.2)
