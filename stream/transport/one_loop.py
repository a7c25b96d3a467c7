"""Runs the consumer in the loop of the worker instead of in a thread of its own.

Overrides `AIOKafkaConsumerThread`'s way to its thread. Two threads of one Python share one lock: together they never use more than one
processor, but they hand every record from one core's cache to the other's, and every call from one loop to the other's queue. In one
loop a record is folded where it was received; without this a trace cost a fifth more. What a long computation holds up is the heartbeat
too, then: chunks are folded in some 10 ms, and a partition at a time is recovered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from faust.transport.drivers import aiokafka as driver
from mode.threads import WorkerThread
from mode.utils.futures import maybe_async


class LoopWorker(WorkerThread):
    """Stands in for the thread: runs its service as a task of the loop that made it."""

    def __init__(self, service: Any) -> None:
        self.service = service

    def start(self) -> None:
        """Begin to serve; the loop goes on with it."""
        self._serving = asyncio.ensure_future(self.service._serve())

    def stop(self) -> None:
        """Do nothing: a stopping service has waited for its end."""


class OneLoop(driver.AIOKafkaConsumerThread):
    """A consumer thread that is none."""

    Worker = LoopWorker

    def __init__(self, consumer: Any, *, loop: asyncio.AbstractEventLoop, **given: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **given)

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **given: Any) -> Any:
        """Call at once: there is no other thread."""
        return await maybe_async(fun(*args, **given))

    async def _gather_remaining_tasks(self) -> None:
        """Cancel nothing: the loop's other tasks are not this service's."""
