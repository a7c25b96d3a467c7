"""Publishes the running totals of held partitions on `eddy.statistics`: at once while there is room, coalesced under load.

They go out before they are durable: a crash only means that someone computes the same again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

import msgspec

from stream import metrics
from stream.fold.state import PartitionState
from stream.records import PartitionStatistics
from stream.topics import STATISTICS, TRACES
from stream.worker.holdings import HeldPartition, Holdings
from stream.worker.ownership import Ownership
from stream.worker.sending import Send, die_if_refused

BYTES_PER_S = 500_000
"""What a worker publishes at most when it has much to say. The embedded broker keeps all of it in memory; a total is some 5 kB."""
BURST_BYTES = 2_000_000
AMPLE_AGAIN = 0.9
"""Part of the burst that must be there before totals go at once again."""
LEAST_BYTES = 8_000
"""What a total counts for at least, so that 60 of them go a second at most: each costs a decision too, half a millisecond of somebody's processor."""
LOADED_INTERVAL_S = 1.0
"""Between two turns of one class, once half of the burst is used up."""
REMEMBERED_S = 60.0
"""For how long a turn is remembered. A class without one goes before all others: it may be new, and nothing routes it yet."""
FIRST_S = float("-inf")
TICK_S = 0.02

encode = msgspec.json.Encoder().encode


class Allowance:
    """A bucket of bytes that fills with time.

    Example:
        >>> allowance = Allowance(bytes_per_s=10, burst_bytes=100)
        >>> allowance.use(60, now_s=0.0); allowance.left(now_s=1.0)
        50.0
    """

    def __init__(self, *, bytes_per_s: float, burst_bytes: float, least_bytes: int = 0) -> None:
        self._bytes_per_s, self._burst_bytes, self._least_bytes = bytes_per_s, burst_bytes, least_bytes
        self._left, self._at_s = burst_bytes, float("-inf")
        self._was_ample = True

    def left(self, now_s: float) -> float:
        """Bytes that may be sent now; negative where too many were."""
        if now_s > self._at_s > float("-inf"):
            self._left = min(self._burst_bytes, self._left + (now_s - self._at_s) * self._bytes_per_s)
        self._at_s = now_s
        return self._left

    def use(self, size_bytes: int, now_s: float) -> None:
        """Take bytes out, or the least that is ever taken."""
        self._left = self.left(now_s) - max(size_bytes, self._least_bytes)

    def is_ample(self, now_s: float) -> bool:
        """Whether more than half of the burst is left; once it was not, whether it is nearly whole again: load that stays is no reason to hurry by turns."""
        share = self.left(now_s) / self._burst_bytes
        self._was_ample = share > (0.5 if self._was_ample else AMPLE_AGAIN)
        return self._was_ample


class Turns:
    """Which classes wait, in which partitions, and when the turn of each comes: an interval after its last one, or at once.

    Example:
        >>> turns = Turns()
        >>> turns.wait("code", 3); turns.wait("code", 4)
        >>> list(turns.take(0.0)), list(turns.take(0.0))
        ([(3, 'code'), (4, 'code')], [])
    """

    def __init__(self) -> None:
        self._partitions: dict[str, dict[int, None]] = {}
        self._queue: list[tuple[float, int, str]] = []
        """A heap: the time of a class's turn, a number for those of one time, the class."""
        self._last_s: dict[str, float] = {}
        """Of each class its last turn, in their order; those further back than `REMEMBERED_S` are forgotten."""
        self._numbers = count()
        self._now_s = 0.0

    def wait(self, query_class: str, partition: int) -> None:
        """Let a partition's total of a class wait for its turn."""
        if query_class not in self._partitions:
            self._partitions[query_class] = {}
            last_s = self._last_s.get(query_class)
            turn_s = FIRST_S if last_s is None else max(last_s + LOADED_INTERVAL_S, self._now_s)
            heappush(self._queue, (turn_s, next(self._numbers), query_class))
        self._partitions[query_class][partition] = None

    def take(self, now_s: float, *, at_once: bool = False) -> dict[tuple[int, str], None]:
        """Take the partitions of the class whose turn has come, or that is next where all may go at once; empty where there is none."""
        self._now_s = now_s
        while self._last_s and now_s - next(iter(self._last_s.values())) >= REMEMBERED_S:
            del self._last_s[next(iter(self._last_s))]
        if not self._queue or not (at_once or self._queue[0][0] <= now_s):
            return {}
        *_, query_class = heappop(self._queue)
        self._last_s.pop(query_class, None)
        self._last_s[query_class] = now_s
        return {(partition, query_class): None for partition in self._partitions.pop(query_class)}


class Listener(Protocol):
    """Somebody in this process who decides by totals; to hear of them here is sooner than to read them back."""

    def said(self, statistics: PartitionStatistics, value: bytes) -> None:
        """Take a total that is being sent, and its bytes."""

    async def decide(self, now_s: float) -> None:
        """Decide by what was said; it goes to the broker together with the totals."""


class StatisticsPublisher:
    """Keeps which totals have changed and sends them as its allowance lets it, what has just changed first.

    Under load the totals of one class go together, from all partitions: whoever decides by them does so once for all.

    Args:
        holdings: whose totals they are.
        send: to the topic.
        ownership: asked right before anything is sent.
        fold: id of the fold, part of every key.
        is_active: whether this fold is the one that publishes.
    """

    def __init__(self, holdings: Holdings, *, send: Send, ownership: Ownership, fold: str, is_active: Callable[[], bool]) -> None:
        self._holdings, self._send, self._ownership, self._fold, self._is_active = holdings, send, ownership, fold, is_active
        self._turns = Turns()
        # Ordered sets. What has just changed goes before what a takeover says again.
        self._ready: dict[tuple[int, str], None] = {}
        self._backlog: dict[tuple[int, str], None] = {}
        self._allowance = Allowance(bytes_per_s=BYTES_PER_S, burst_bytes=BURST_BYTES, least_bytes=LEAST_BYTES)
        self._listener: Listener | None = None

    def on_publish(self, listener: Listener) -> None:
        """Have somebody hear of each total as it is sent."""
        self._listener = listener

    def took_over(self, held: HeldPartition) -> None:
        """Publish all totals of a partition again: what its earlier owner said last may never have been said."""
        for query_class in held.state.all_classes():
            self._backlog.setdefault((held.number, query_class))

    def changed(self, held: HeldPartition) -> None:
        """Note what the last chunk has changed."""
        for query_class in held.state.take_changed_classes():
            self._turns.wait(query_class, held.number)
            self._backlog.pop((held.number, query_class), None)

    def release(self) -> None:
        """Forget everything: the partitions are not held any more."""
        self._turns = Turns()
        self._ready.clear()
        self._backlog.clear()

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
        any_sent = False
        while state_and_class := self._next(now_s):
            await self._publish_one(*state_and_class, now_s)
            any_sent = True
        if any_sent and self._listener is not None:
            await self._listener.decide(now_s)

    def _next(self, now_s: float) -> tuple[PartitionState, str] | None:
        """Take the total that goes next, if one may. A class whose turn has begun goes on whatever is left: each part of it would cost a decision."""
        while self._ready or self._allowance.left(now_s) > 0:
            if not self._ready:
                self._ready |= self._turns.take(now_s, at_once=self._allowance.is_ample(now_s))
            queue = self._ready or self._backlog
            number, query_class = place = next(iter(queue), (-1, ""))
            held = self._holdings.get(number)
            if not queue or (held is not None and not self._ownership.is_certain(TRACES.name, number)):
                return None
            del queue[place]
            if held is not None:
                return held.state, query_class
        return None

    async def _publish_one(self, state: PartitionState, query_class: str, now_s: float) -> None:
        statistics = state.statistics(query_class)
        value = encode(statistics) if statistics.arms else None  # a class that has aged out leaves the topic too
        self._allowance.use(len(value or b""), now_s)
        if value is not None and self._listener is not None:
            self._listener.said(statistics, value)
        future = await self._send(STATISTICS.name, 0, statistics_key(self._fold, state.number, query_class), value)
        future.add_done_callback(die_if_refused)
        metrics.STATISTICS.inc()
        metrics.STATISTICS_BYTES.inc(len(value or b""))


def statistics_key(fold: str, partition: int, query_class: str) -> bytes:
    """The key of a total on `eddy.statistics`."""
    return f"{fold}/{partition}/{query_class}".encode("utf-8", "surrogatepass")
