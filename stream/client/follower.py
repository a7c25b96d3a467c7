"""Follows a compacted topic of one partition: from its start to its end, then on, through every outage of the broker.

No consumer group: joining one takes seconds, and nothing is committed. It does not decode.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from stream.client.connection import open_consumer, stop
from stream.client.quiet import Throttle, quiet_this_task

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

    from stream.settings import Settings

log = logging.getLogger(__name__)

FETCH_WAIT_MS = 50
"""The embedded broker does not wake a waiting fetch, so half of this is added to the age of an update; Kafka does."""
CHECK_S = 2.0
"""How often a silent log is looked at again: it may have been made anew behind an unbroken connection."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0


class Follower:
    """Hands over every record of a topic, in order.

    A log that was made anew (the embedded broker's after a restart, a topic created again) is read from its start: the
    record at the last offset is looked at again whenever nothing comes, and is no longer the one that was seen.

    Args:
        settings: how the broker is reached.
        topic: its name; partition 0 is followed.
        take: gets key and value of each record; what it raises is logged, and the next record follows.
        begin_log: called when the log was made anew, before its first record.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        take: Callable[[bytes | None, bytes | None], object],
        begin_log: Callable[[], None],
        fetch_wait_ms: int = FETCH_WAIT_MS,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._hand_over = take
        self._begin_log = begin_log
        self._fetch_wait_ms = fetch_wait_ms
        self._position = 0
        self._mark: int | None = None
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._throttle = Throttle(log)

    @property
    def is_ready(self) -> bool:
        """Whether the end of the topic was reached once."""
        return self._ready.is_set()

    async def start(self) -> None:
        """Begin to follow; does not wait for the broker."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"eddy follower of {self._topic}")

    async def ready(self, timeout_s: float) -> bool:
        """Wait until the end of the topic was reached once; False when the time was not enough."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), timeout_s)
        return self.is_ready

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        quiet_this_task()
        while True:
            try:
                await self._follow()
            except Exception as exc:
                self._throttle.warning("outage", "%s is not followed for now: %r", self._topic, exc)
            await asyncio.sleep(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, LAST_BACKOFF_S)

    async def _follow(self) -> None:
        from aiokafka import TopicPartition

        partition = TopicPartition(self._topic, 0)
        consumer = await open_consumer(self._settings, self._topic, fetch_wait_ms=self._fetch_wait_ms)
        try:
            consumer.assign([partition])
            self._look_back(consumer, partition)
            self._backoff_s = FIRST_BACKOFF_S
            await self._poll(consumer, partition)
        finally:
            await stop(consumer)

    async def _poll(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        """Read for ever.

        1. Hand over what came.
        2. Where the log turns out to be another one, read it from its start.
        3. Note when its end is reached.
        4. Look back at the last record when nothing came for a while.
        """
        loop = asyncio.get_running_loop()
        looked_s = loop.time()
        while True:
            records = (await consumer.getmany(partition, timeout_ms=4 * self._fetch_wait_ms)).get(partition, ())
            if records and not self._take_all(records):  # 1
                self._start_over(consumer, partition)  # 2
            elif not self.is_ready:
                await self._note_end(consumer, partition)  # 3
            elif not records and loop.time() - looked_s > CHECK_S:
                self._look_back(consumer, partition)  # 4
                looked_s = loop.time()

    def _take_all(self, records: list[ConsumerRecord[bytes, bytes]]) -> bool:
        for record in records:
            if record.offset < self._position:
                if record.offset != self._position - 1 or _fingerprint(record) != self._mark:
                    return False
                continue
            self._take(record)
        return True

    def _take(self, record: ConsumerRecord[bytes, bytes]) -> None:
        try:
            self._hand_over(record.key, record.value)
        except Exception as exc:
            self._throttle.warning("record", "a record of %s at offset %d is left out: %r", self._topic, record.offset, exc)
        self._position, self._mark = record.offset + 1, _fingerprint(record)

    def _start_over(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        log.warning("%s was made anew and is read from its start; what was learned from the one before it serves until then", self._topic)
        self._position, self._mark = 0, None
        self._begin_log()
        consumer.seek(partition, 0)

    async def _note_end(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        highwater = consumer.highwater(partition)  # with a fetch; a list of end offsets is wrong on the embedded broker
        if highwater is not None and await consumer.position(partition) >= highwater:
            self._ready.set()

    def _look_back(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        consumer.seek(partition, max(self._position - 1, 0))


def _fingerprint(record: ConsumerRecord[bytes, bytes]) -> int:
    return hash((record.timestamp, record.key, record.value))
