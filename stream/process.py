"""What Python is told in a process that works all the time: which event loop to run, to look for garbage seldom, to let threads in soon, and when to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Coroutine
from typing import Any

GARBAGE_AFTER = (50_000, 20, 20)
"""Objects that may hang together in circles, made and not freed, before the young ones are looked through; then how many such looks
before one at the older ones. Python's own 700 meant two looks a chunk, 5 % of a worker's time; records and state hold no circles."""

SWITCH_S = 0.0005
"""After so long a thread that computes lets another one in. SQLite's asks several times a block; with Python's own 5 ms each time it wrote only while nothing was read."""


def tune() -> None:
    """Set this process up; to be called once, when everything is imported and before an event loop is made."""
    _use_uvloop()
    gc.collect()
    gc.freeze()  # modules and classes stay: no look need go through them again
    gc.set_threshold(*GARBAGE_AFTER)
    sys.setswitchinterval(SWITCH_S)


def _use_uvloop() -> None:
    """Have threads that others start make their loops so too; where it is not installed, on Windows, asyncio's own serves."""
    try:
        import uvloop
    except ImportError:
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


async def until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until the work ends or a signal asks for an end."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # off the main thread signals are its starter's
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
