"""Ends the process at once when something unknown has happened, so that nothing after it is acknowledged or committed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

logger = logging.getLogger("eddy.worker")

BROKEN = 70
"""Exit status for what is not understood (EX_SOFTWARE)."""
AGAIN = 75
"""Exit status where the next life is expected to do better (EX_TEMPFAIL)."""


def end_process(why: BaseException, doing: str) -> NoReturn:
    """Log an error and end the process without any of its clean-up."""
    again = bool(getattr(why, "retriable", False))
    logger.critical("the worker ends while %s: %s: %s", doing, type(why).__name__, why, exc_info=None if again else why)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(AGAIN if again else BROKEN)


@contextmanager
def fatal_errors(doing: str, *, is_stopping: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Let no error out of the block but a cancellation.

    Faust acknowledges an event whose agent raised; an error that is not understood must not look like work done.

    Args:
        doing: what the block does, for the log.
        is_stopping: whether the process is already ending, when errors are expected.
    """
    try:
        yield
    except asyncio.CancelledError:
        raise
    except BaseException as exc:
        if is_stopping() and isinstance(exc, Exception):
            logger.info("while stopping, %s: %s: %s", doing, type(exc).__name__, exc)
            return
        end_process(exc, doing)


async def guarded(work: Callable[[], Awaitable[None]], doing: str, is_stopping: Callable[[], bool]) -> None:
    """Run background work whose every error is fatal."""
    with fatal_errors(doing, is_stopping=is_stopping):
        await work()
