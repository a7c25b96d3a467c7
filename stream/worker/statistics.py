"""Publishes the running totals of held partitions on `eddy.statistics`: at once while there is room, coalesced under load.

They go out before they are durable: a crash only means that someone computes the same again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from stream import metrics
from stream.fold.state import PartitionState
from stream.topics import STATISTICS, TRACES
from stream.worker.holdings import HeldPartition, Holdings
from stream.worker.ownership import Ownership
from stream.worker.sending import Send, die_if_refused

BYTES_PER_S = 500_000
"""What a worker publishes at most when it has much to say. The embedded broker keeps all of it in memory; a total is some 5 kB."""
BURST_BYTES = 2_000_000
LOADED_INTERVAL_S = 1.0
"""Between two totals of one class and partition, once half of the burst is used up."""
TICK_S = 0.02

encode = msgspec.json.Encoder().encode


class Allowance:
    """A bucket of bytes that fills with time.

    Example:
        >>> allowance = Allowance(bytes_per_s=10, burst_bytes=100)
        >>> allowance.use(60, now_s=0.0); allowance.left(now_s=1.0)
        50.0
    """

    def __init__(self, *, bytes_per_s: float, burst_bytes: float) -> None:
        self._bytes_per_s, self._burst_bytes = bytes_per_s, burst_bytes
        self._left, self._at_s = burst_bytes, float("-inf")

    def left(self, now_s: float) -> float:
        """Bytes that may be sent now; negative where too many were."""
        if now_s > self._at_s > float("-inf"):
            self._left = min(self._burst_bytes, self._left + (now_s - self._at_s) * self._bytes_per_s)
        self._at_s = now_s
        return self._left

    def use(self, size_bytes: int, now_s: float) -> None:
        """Take bytes out."""
        self._left = self.left(now_s) - size_bytes

    def is_ample(self, now_s: float) -> bool:
        """Whether more than half of the burst is left."""
        return self.left(now_s) > self._burst_bytes / 2


class StatisticsPublisher:
    """Keeps which totals have changed and sends them as its allowance lets it, what has just changed first.

    Args:
        holdings: whose totals they are.
        send: to the topic.
        ownership: asked right before anything is sent.
        fold: id of the fold, part of every key.
        is_active: whether this fold is the one that publishes.
    """

    def __init__(self, holdings: Holdings, *, send: Send, ownership: Ownership, fold: str, is_active: Callable[[], bool]) -> None:
        self._holdings, self._send, self._ownership, self._fold, self._is_active = holdings, send, ownership, fold, is_active
        # Ordered sets. What has just changed goes before what a takeover says again.
        self._waiting: dict[tuple[int, str], None] = {}
        self._backlog: dict[tuple[int, str], None] = {}
        self._published_s: dict[tuple[int, str], float] = {}
        self._allowance = Allowance(bytes_per_s=BYTES_PER_S, burst_bytes=BURST_BYTES)

    def took_over(self, held: HeldPartition) -> None:
        """Publish all totals of a partition again: what its earlier owner said last may never have been said."""
        for query_class in held.state.all_classes():
            self._backlog.setdefault((held.number, query_class))

    def changed(self, held: HeldPartition) -> None:
        """Note what the last chunk has changed."""
        for query_class in held.state.take_changed_classes():
            self._waiting.setdefault((held.number, query_class))
            self._backlog.pop((held.number, query_class), None)

    def release(self) -> None:
        """Forget everything: the partitions are not held any more."""
        self._waiting.clear()
        self._backlog.clear()
        self._published_s.clear()

    def activated(self) -> None:
        """Publish everything held: this fold has just become the active one."""
        for held in self._holdings:
            self.took_over(held)

    async def run(self) -> None:
        """Publish what had to wait, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            await self.publish(time.monotonic())

    async def publish(self, now_s: float) -> None:
        """Send what may go now."""
        if not self._is_active():
            self.release()
        for queue in (self._waiting, self._backlog):
            for number, query_class in list(queue):
                if self._allowance.left(now_s) <= 0:
                    return
                held = self._holdings.get(number)
                if held is not None and (number, query_class) in queue and self._may_go(number, query_class, now_s):
                    del queue[number, query_class]
                    self._published_s[number, query_class] = now_s
                    await self._publish_one(held.state, query_class, now_s)

    def _may_go(self, number: int, query_class: str, now_s: float) -> bool:
        since_s = now_s - self._published_s.get((number, query_class), float("-inf"))
        return (since_s >= LOADED_INTERVAL_S or self._allowance.is_ample(now_s)) and self._ownership.is_certain(TRACES.name, number)

    async def _publish_one(self, state: PartitionState, query_class: str, now_s: float) -> None:
        statistics = state.statistics(query_class)
        value = encode(statistics) if statistics.arms else None  # a class that has aged out leaves the topic too
        self._allowance.use(len(value or b""), now_s)
        future = await self._send(STATISTICS.name, 0, statistics_key(self._fold, state.number, query_class), value)
        future.add_done_callback(die_if_refused)
        metrics.STATISTICS.inc()
        metrics.STATISTICS_BYTES.inc(len(value or b""))


def statistics_key(fold: str, partition: int, query_class: str) -> bytes:
    """The key of a total on `eddy.statistics`."""
    return f"{fold}/{partition}/{query_class}".encode("utf-8", "surrogatepass")
