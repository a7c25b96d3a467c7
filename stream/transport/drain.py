"""Hands fetched messages to the agents without helper tasks.

Overrides `Consumer._drain_messages`, which makes four tasks a message (the callback, the suspension, the stop, the crash) and waits
for the first: 140 of the 210 us that an event costs. A chunk is simply awaited while the flow is open: should the flow close while
its queue is full, it is put there later, and its agent drops it as one of an earlier assignment. A changelog has no such agent.
Its record of an earlier assignment, put late, would let Faust take all before it for read: a state with parts missing. So records
of changelogs are given up when the flow closes, as in the stock method; they are few.
"""

from __future__ import annotations

import asyncio
from typing import Any

from faust.transport.drivers import aiokafka as driver

YIELD_EVERY = 100
"""Messages between two turns of the event loop, as in the stock method."""


class DirectDrain(driver.Consumer):
    """A consumer that awaits the conductor's callback directly."""

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await self._drain_once()
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            if not self.transport.app.should_stop:
                raise

    async def _drain_once(self) -> None:
        await asyncio.sleep(0)  # getmany may return at once, again and again
        since_yield = 0
        async for tp, message in self.getmany(timeout=1.0):
            since_yield += 1
            if since_yield > YIELD_EVERY:
                await asyncio.sleep(0)
                since_yield = 0
            read = self._read_offset[tp]
            if read is None or message.offset >= read:
                await self._deliver(tp, message, read)

    async def _deliver(self, tp: Any, message: Any, read: int | None) -> None:
        if read and message.offset - read > 1 and self.app.topics.acks_enabled_for(message.topic):
            await self._add_gap(tp, read + 1, message.offset)
        if self._may_hang(message.topic):
            await self.wait_first(self.callback(message), self.suspend_flow.wait())
        else:
            await self.callback(message)
        if message.generation_id == self.app.consumer_generation_id:  # else it would hide what the new assignment is to read again
            self._read_offset[tp] = message.offset

    def _may_hang(self, topic: str) -> bool:
        return topic not in self.transport.sources or not self.flow_active or self.app.flow_control._suspend.is_set()
