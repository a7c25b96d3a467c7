"""One child process of the supervisor: started on a leash, its output in a log file, started again when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from stream import leash

POLL_S = 0.05
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
STEADY_S = 60.0
"""A child that ran so long before it ended is started again without a grown delay."""
GRACE_S = 30.0
"""How long a child may take to end in order: a worker's last checkpoint waits for the broker's acknowledgement."""
LOG_BYTES = 20_000_000
"""A log that is larger when its child starts is put aside, and the one put aside before it is dropped."""


class Child:
    """A process `python -m stream COMMAND` that is kept running.

    Args:
        name: as in its log's name and in what is said of it.
        command: the command of `eddy` that it runs.
        environment: what it finds beside this process's own environment.
        log_path: where its output goes.
        say: told when it ends and is started again.
    """

    def __init__(self, name: str, command: str, *, environment: Mapping[str, str], log_path: Path, say: Callable[[str], None]) -> None:
        self.name = name
        self.command = command
        self._environment = dict(environment)
        self._log_path = log_path
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, and again whenever it ends, until `end`."""
        self._keeper = asyncio.create_task(self._keep())

    async def end(self, *, in_order: bool) -> None:
        """End it for good.

        Args:
            in_order: ask first, with SIGTERM, and wait; else kill it at once.
        """
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if in_order and self._process is not None and self.pid is not None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended(), GRACE_S)
        self.kill()

    def kill(self) -> None:
        """Kill the process that runs now."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def _keep(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            started_s = time.monotonic()
            self._process = self.launch()
            status = await self._ended()
            delay_s = FIRST_DELAY_S if time.monotonic() - started_s > STEADY_S else delay_s
            self._say(f"{self.name} ended with status {status}; it starts again in {delay_s:g} s ({self._last_words()})")
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process once, on the leash, without keeping it."""
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        if self._log_path.exists() and self._log_path.stat().st_size > LOG_BYTES:
            self._log_path.replace(self._log_path.with_suffix(".log.1"))
        # A session of its own: a Ctrl-C in the terminal reaches the supervisor alone, which ends its children in order.
        with self._log_path.open("ab") as log:
            return leash.start(
                [sys.executable, "-m", "stream", self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
                start_new_session=True,
            )

    async def _ended(self) -> int:
        while self._process is not None and self._process.poll() is None:
            await asyncio.sleep(POLL_S)
        return self._process.returncode if self._process is not None else 0

    def _last_words(self) -> str:
        with suppress(OSError):
            with self._log_path.open("rb") as log:
                log.seek(max(0, self._log_path.stat().st_size - 2_000))
                lines = log.read().decode(errors="replace").strip().splitlines()
            if lines:
                return f"its last words: {lines[-1][:200]}; all of them in {self._log_path}"
        return f"its words are in {self._log_path}"
