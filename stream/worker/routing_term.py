"""One term of office of the worker that decides the routing: from the assignment of the three topics to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from stream import metrics
from stream.records import PARAMETERS_KEY, Override, PartitionStatistics, PolicyParameters, RoutingUpdate
from stream.routing.desk import RoutingDesk
from stream.routing.state import RoutingState
from stream.topics import OVERRIDES, ROUTING, STATISTICS
from stream.worker.decoding import decoded, text_key
from stream.worker.fatal import logger
from stream.worker.sending import Send, acknowledged, die_if_refused

TOPICS = (STATISTICS.name, OVERRIDES.name, ROUTING.name)
QUIET_S = 5.0
"""After so long without a record a topic counts as read to its end: its last records may have been cleaned away."""
STATE_INTERVAL_S = 1.0
RECLAIM_INTERVAL_S = 1.0
AGEING_INTERVAL_S = 60.0
SAID_MAX = 1_000
"""Totals that were sent and not yet read back: those of two seconds and more."""

encode = msgspec.json.Encoder().encode


class Statistics(Protocol):
    """The table `class_statistics`."""

    def take(self, key: str, statistics: PartitionStatistics) -> PartitionStatistics | None:
        """Take a total; returns the newer one that it has overwritten, if any."""

    def forget(self, key: str) -> None:
        """Take a tombstone."""

    def aged_out(self) -> list[str]:
        """Keys of which nothing is kept any more."""


class Ledger(Protocol):
    """The table `routing_state`."""

    async def claim(self, *, above: int) -> int:
        """Claim an epoch greater than another."""

    async def keep(self, state: RoutingState) -> list[asyncio.Future[Any]]:
        """Write the desk's state; returns what will be acknowledged."""


class RoutingTerm:
    """Reads what the desk must know, claims an epoch, and publishes what the desk decides.

    1. Read the three topics from their start to the ends they had at assignment.
    2. Claim an epoch greater than any seen.
    3. Publish what is due, take back what is retired, write again what a zombie has overwritten.
    4. Keep the desk's state, at most once a second.

    Args:
        desk: decides; knows no Kafka.
        statistics: newest totals.
        ledger: claims and states.
        send: to the topics.
        ends: of the three topics, at assignment.
        fold: id of the fold whose totals count.
        may_write: whether this worker certainly owns the topics, and its fold is the active one.
    """

    def __init__(self, desk: RoutingDesk, *, statistics: Statistics, ledger: Ledger, send: Send, ends: Mapping[str, int], fold: str, may_write: Callable[[], bool]) -> None:
        self.desk = desk
        self._statistics, self._ledger, self._send, self._fold, self._may_write = statistics, ledger, send, fold, may_write
        self._left = {topic: end for topic, end in ends.items() if end > 0}
        self._read_s = time.monotonic()
        self._claimed_s = float("-inf")
        self._aged_s = self._kept_s = float("-inf")
        self._kept_version = (0, 0)
        self._overwritten: dict[str, PartitionStatistics] = {}
        self._said: dict[bytes, PartitionStatistics] = {}
        self._busy = asyncio.Lock()

    def read(self, topic: str, records: Sequence[Any]) -> None:
        """Take a chunk of one of the three topics (step 1)."""
        take = {STATISTICS.name: self._take_statistics, OVERRIDES.name: self._take_override, ROUTING.name: self._take_update}[topic]
        for record in records:
            take(record)
        self._read_s = time.monotonic()
        if records[-1].offset + 1 >= self._left.get(topic, 0):
            self._left.pop(topic, None)

    def said(self, statistics: PartitionStatistics, value: bytes) -> None:
        """Take a total that this process has just sent; what of it is read back needs no decoding.

        The topic remains what decides: the desk takes of two totals the newer one, and a tombstone when it is read.
        """
        self.desk.learn(statistics)
        self._said[value] = statistics
        if len(self._said) > SAID_MAX:
            del self._said[next(iter(self._said))]

    async def decide(self, now_s: float) -> None:
        """Take step 3 alone, for whoever must not wait for an acknowledgement."""
        if self._may_publish(now_s) and not self._must_claim(now_s):
            async with self._busy:
                await self._send_due(now_s)

    async def publish(self, now_s: float) -> None:
        """Take steps 2 to 4, as far as each is due."""
        if not self._may_publish(now_s):
            return
        async with self._busy:
            if self._must_claim(now_s):
                await self._claim(now_s)
            await self._send_due(now_s)
            await self._repair(now_s)
            await self._keep(now_s)

    def is_ready(self, now_s: float) -> bool:
        """Whether its three topics were read to their ends, and what it makes of them may be published."""
        return self._has_read_all(now_s) and self._may_write()

    def _may_publish(self, now_s: float) -> bool:
        return not self._busy.locked() and self._has_read_all(now_s) and self._may_write()

    def _has_read_all(self, now_s: float) -> bool:
        return not self._left or now_s - self._read_s > QUIET_S

    def _must_claim(self, now_s: float) -> bool:
        never = self._claimed_s == float("-inf")
        return never or (self.desk.superseded_by is not None and now_s - self._claimed_s > RECLAIM_INTERVAL_S)

    async def _claim(self, now_s: float) -> None:
        """Step 2; again when another owner's update was seen though this worker certainly owns the topics: a fold was
        switched, or that owner is a zombie.
        """
        epoch = await self._ledger.claim(above=self.desk.greatest_epoch)
        self._claimed_s = now_s
        self.desk.claim(epoch)
        metrics.ROUTING_EPOCH.set(epoch)
        logger.info("this worker decides the routing, in epoch %d", epoch)

    async def _send_due(self, now_s: float) -> None:
        for update in self.desk.due(now_s):
            await self._say(ROUTING.name, update.query_class, encode(update))
            metrics.ROUTING_UPDATES.inc()
        for query_class in self.desk.retired():
            await self._say(ROUTING.name, query_class, None)

    async def _repair(self, now_s: float) -> None:
        while self._overwritten:
            key, newest = self._overwritten.popitem()
            await self._say(STATISTICS.name, key, encode(newest))
        if now_s - self._aged_s > AGEING_INTERVAL_S:
            self._aged_s = now_s
            for key in self._statistics.aged_out():
                await self._say(STATISTICS.name, key, None)

    async def _say(self, topic: str, key: str, value: bytes | None) -> None:
        sent = await self._send(topic, 0, key.encode("utf-8", "surrogatepass"), value)
        sent.add_done_callback(die_if_refused)

    async def _keep(self, now_s: float) -> None:
        state = self.desk.state
        if state.version != self._kept_version and now_s - self._kept_s > STATE_INTERVAL_S:
            self._kept_s, self._kept_version = now_s, state.version
            for sent in await self._ledger.keep(state):  # not waited for: decisions would wait as well
                sent.add_done_callback(die_if_refused)

    async def finish(self) -> None:
        """Keep the state a last time."""
        if self._claimed_s > float("-inf") and self._may_write():
            await acknowledged(await self._ledger.keep(self.desk.state))

    def _take_statistics(self, record: Any) -> None:
        key = text_key(record)
        if record.value is None:
            self._statistics.forget(key)
            self._overwritten.pop(key, None)
            self.desk.forget_class(key)
        elif (statistics := self._said.pop(record.value, None) or decoded(record, PartitionStatistics, topic=STATISTICS.name)) is not None:
            self._take_total(key, statistics)

    def _take_total(self, key: str, statistics: PartitionStatistics) -> None:
        newest = self._statistics.take(key, statistics)
        if newest is None:
            self._overwritten.pop(key, None)
            self.desk.learn(statistics)
        elif statistics.fold == self._fold:
            metrics.ZOMBIE_WRITES.labels(STATISTICS.name).inc()
            self._overwritten[key] = newest

    def _take_override(self, record: Any) -> None:
        override = decoded(record, Override, topic=OVERRIDES.name) if record.value is not None else None
        if override is not None or record.value is None:
            self.desk.override(text_key(record), override)

    def _take_update(self, record: Any) -> None:
        if text_key(record).startswith(PARAMETERS_KEY):
            self._take_parameters(record)
            return
        update = decoded(record, RoutingUpdate, topic=ROUTING.name) if record.value is not None else None
        if update is not None or record.value is None:
            self.desk.saw_update(update, text_key(record))

    def _take_parameters(self, record: Any) -> None:
        parameters = decoded(record, PolicyParameters, topic=ROUTING.name) if record.value is not None else None
        if parameters is not None:
            try:
                self.desk.saw_parameters(parameters)
            except (ValueError, msgspec.MsgspecError) as exc:
                logger.warning("parameters of %s are left out: %s", parameters.name, exc)
