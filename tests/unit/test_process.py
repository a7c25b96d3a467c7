"""Processes that work all the time run uvloop where it is installed, in every thread, and look for garbage seldom."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, gc, sys, threading
if {is_absent}:
    sys.modules["uvloop"] = None
from stream.process import tune

tune()
made = []
thread = threading.Thread(target=lambda: made.append(asyncio.new_event_loop()))
thread.start()
thread.join()
with asyncio.Runner() as runner:
    made.append(runner.get_loop())
    print(*(type(loop).__module__.split(".")[0] for loop in made), gc.get_freeze_count() > 1_000, gc.get_threshold()[0])
    runner.run(asyncio.sleep(0))
made[0].close()
"""


@pytest.mark.parametrize(("is_absent", "loop"), [(False, "uvloop"), (True, "asyncio")], ids=["with uvloop", "without"])
def test_tuned_process_makes_fast_loops_everywhere(is_absent: bool, loop: str) -> None:
    """Faust's consumer has a thread and a loop of its own; a Windows machine, and a client's, has no uvloop and must do without."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT.format(is_absent=is_absent)], capture_output=True, text=True, check=False)

    assert (done.stdout.split(), done.stderr) == ([loop, loop, "True", "50000"], "")
