"""Waits briefly, and fetches only what is open.

Overrides `Consumer._wait_next_records`, which sleeps a whole second when no partition is open: with it the first record after a
rebalance was folded after 1.15 s, without it after less than 0.1 s. And `_getmany`: the stock one hands the live set of open
partitions to the consumer's thread, where an emptied set means *all*; records of a partition that is not open yet would be
fetched, dropped, and missing afterwards.
"""

from __future__ import annotations

import asyncio
from typing import Any

from faust.transport.drivers import aiokafka as driver

IDLE_S = 0.02


class PromptWait(driver.Consumer):
    """A consumer that looks again soon when nothing is open."""

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:
        if self.flow_active and not self._get_active_partitions():
            await asyncio.sleep(IDLE_S)
            return {}, set()
        return await super()._wait_next_records(timeout)  # type: ignore[no-any-return]

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        return await super()._getmany(set(active_partitions), timeout)
