"""One process of a cycle, seen from the learner: started on its leash, watched, and killed where it takes too long or too much."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from stream import leash
from stream.cycles import plan as plans
from stream.cycles.limits import resident_bytes

LOOK_S = 0.05
"""Between two looks at the process: memory that grows by 1 GB a second is then at most 50 MB above its limit."""
LOG_FILE = "cycles.log"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process of a cycle ended.

    Attributes:
        status: exit status; negative: the signal that ended it.
        overrun: which limit it went beyond, in words; empty: none.
        seconds: it took.
        peak_bytes: resident, of it and of what it started, as far as was seen.
    """

    status: int
    overrun: str
    seconds: float
    peak_bytes: int


async def run_process(plan: plans.Plan, cycle_id: str, *, is_wanted: Callable[[], bool] = lambda: True) -> Ended:
    """Run a process of a cycle until it ends; a cancelled call kills it.

    Args:
        plan: of the deployment.
        cycle_id: of the cycle that it goes on with; empty: it only carries out persons' words.
        is_wanted: asked at each look; once it is not, the process is killed.
    """
    process, began_s = await asyncio.to_thread(_start, plan, cycle_id), time.monotonic()
    try:
        overrun, peak = await _watch(process, plan, is_wanted)
    finally:
        _kill(process)
        status = process.wait()  # killed, it takes no time
    return Ended(status, overrun, time.monotonic() - began_s, peak)


def _start(plan: plans.Plan, cycle_id: str) -> subprocess.Popen[bytes]:
    given = plans.encode(plan).encode()
    log_path = plan.data_dir / "logs" / LOG_FILE
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        # A session of its own, so that a kill reaches what it started too, as an evaluator's command.
        process = leash.start(
            [sys.executable, "-m", "stream.cycles.child", cycle_id],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    if process.stdin is not None:
        with suppress(BrokenPipeError), process.stdin as stdin:  # broken where it has ended already; its status says how
            stdin.write(given)
    return process


async def _watch(process: subprocess.Popen[bytes], plan: plans.Plan, is_wanted: Callable[[], bool]) -> tuple[str, int]:
    """Watch it until it ends, is not wanted or overruns a limit; returns the limit in words, and the most that it held."""
    began_s, peak, overrun = time.monotonic(), 0, ""
    while process.poll() is None and is_wanted() and not overrun:
        await asyncio.sleep(LOOK_S)
        peak = max(peak, held := resident_bytes(process.pid))
        overrun = _overrun(plan, held, time.monotonic() - began_s)
    return overrun, peak


def _overrun(plan: plans.Plan, held: int, seconds: float) -> str:
    if held > plan.max_bytes:
        return f"its process held {held / 1e6:,.0f} MB, but EDDY_CYCLE_MAX_BYTES allows {plan.max_bytes / 1e6:,.0f} MB"
    if seconds > plan.max_s:
        return f"its process took {seconds:,.0f} s, but EDDY_CYCLE_MAX_S allows {plan.max_s:,.0f} s"
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill it and all that it started; nothing where it has ended and left nothing."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
