"""Run a program that ends when the process which started it does, however that one ends: no orphan keeps a port or a lock.

Where the system is not Linux, a program outlives a parent that was killed; one that stops in order ends its children itself.

Steps, of which the second runs in the child before it becomes the program:
1. `start` runs this file as a program of its own, from a thread that lives as long as this process does: Linux counts the end
   of the *thread* that started a child as the end of its parent.
2. `main` asks the kernel for a signal at its parent's death, sees whether the parent died before it asked, and becomes the program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""

_keeper = ThreadPoolExecutor(max_workers=1, thread_name_prefix="leash")


def start(command: Sequence[str], *, at_parent_death: signal.Signals = signal.SIGKILL, **options: Any) -> subprocess.Popen[bytes]:
    """Start a program that ends with this process.

    Args:
        command: the program and its arguments.
        at_parent_death: the signal it is sent when this process has ended.
        options: as of `subprocess.Popen`.
    """
    launcher = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(at_parent_death)), *command]
    return _keeper.submit(lambda: subprocess.Popen(launcher, **options)).result()


def main(arguments: Sequence[str]) -> None:
    """Become the program, on the leash: PARENT_PID, SIGNAL, then the program and its arguments."""
    parent, number, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(f"the process {parent} that started {command[0]} has ended before it, but a leashed program ends with its parent; start it again")
    os.execvp(command[0], command)  # noqa: S606 - the caller's own argument list


if __name__ == "__main__":
    main(sys.argv[1:])
