"""Commits what is durable, and nothing else (promise P5).

Overrides `Consumer._new_offset`, which commits what the agents have acknowledged: a chunk is acknowledged once it is folded (holding
acknowledgements hangs every rebalance), long before its checkpoint is; the stock method is also off by one around gaps. And
`_add_gap`: offsets inside a chunk are no gaps.
"""

from __future__ import annotations

from typing import Any

from faust.transport.drivers import aiokafka as driver


class DurableCommits(driver.Consumer):
    """A consumer that asks the transport how far a source partition is durable."""

    def _new_offset(self, tp: Any) -> int | None:
        if tp.topic not in self.transport.sources:
            return super()._new_offset(tp)  # type: ignore[no-any-return]
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.transport.durable_offset(tp)  # type: ignore[no-any-return]

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        if tp.topic not in self.transport.sources:
            await super()._add_gap(tp, offset_from, offset_to)
