"""Memory that a process and all that it has started hold, as Linux says it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Add up what a process and its descendants have resident; pages that they share count for each. 0 where the system has no `/proc`, or the process has ended."""
    return _own_bytes(pid) + sum(map(resident_bytes, _children(pid)))


def _own_bytes(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES
    return 0


def _children(pid: int) -> list[int]:
    """The processes that any of its threads has started."""
    found: list[int] = []
    with suppress(OSError, ValueError):
        for children in (PROC / str(pid) / "task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found
