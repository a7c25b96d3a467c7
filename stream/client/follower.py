"""Follows a compacted topic of one partition: from its start to its end, then on, through every outage of the broker.

No consumer group: joining one takes seconds, and nothing is committed. It does not decode.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from stream.client.connection import open_consumer, stop
from stream.client.quiet import Throttle, quiet_this_task

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

    from stream.settings import Settings

log = logging.getLogger(__name__)

Seen = tuple[int, int]
"""Offset and fingerprint of a record."""

FETCH_WAIT_MS = 50
"""The embedded broker does not wake a waiting fetch, so half of this is added to the age of an update; Kafka does."""
BUSY_FETCH_WAIT_MS, BUSY_S = 20, 1.0
"""The same while records come, and for how long after the last one: who hears of nothing needs to ask less often."""
CHECK_S = 2.0
"""How often the anchor is looked at; it costs a fetch of what came since."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0


class Follower:
    """Hands over every record of a topic, in order.

    A log that was made anew (the embedded broker's after a restart, a topic created again) is read from its start. It shows
    by an end below the position, or by another record where the *anchor* stands: the last record that was read before the
    log was last seen to be the same one. The anchor is looked at every few seconds, and then moved on.

    Args:
        settings: how the broker is reached.
        topic: its name; partition 0 is followed.
        take: gets key and value of each record; what it raises is logged, and the next record follows.
        begin_log: called when the log was made anew, before its first record.
        caught_up: called when the end is reached, once after the start and once after each `begin_log`.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        take: Callable[[bytes | None, bytes | None], object],
        begin_log: Callable[[], None],
        caught_up: Callable[[], None],
        fetch_wait_ms: int = FETCH_WAIT_MS,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._hand_over = take
        self._begin_log = begin_log
        self._caught_up = caught_up
        self._behind = True
        self._fetch_wait_ms = fetch_wait_ms
        self._busy_until_s = float("-inf")
        self._last: Seen | None = None
        self._anchor: Seen | None = None
        self._next_anchor: Seen | None = None
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
        4. Look at the anchor every few seconds.
        """
        loop = asyncio.get_running_loop()
        looked_s = loop.time()
        while True:
            records = (await consumer.getmany(partition, timeout_ms=4 * self._fetch_wait_ms)).get(partition, ())
            end = consumer.highwater(partition)  # comes with a fetch; a list of end offsets is wrong on the embedded broker
            self._set_pace(consumer, loop.time(), records)
            if not self._take_all(records) or (end is not None and end < self._position):  # 1
                self._start_over(consumer, partition)  # 2
            elif self._behind and end is not None and await consumer.position(partition) >= end:
                self._note_end()  # 3
            elif loop.time() - looked_s > CHECK_S:
                self._look_back(consumer, partition)  # 4
                looked_s = loop.time()

    def _set_pace(self, consumer: AIOKafkaConsumer, now_s: float, records: Sequence[object]) -> None:
        if records:
            self._busy_until_s = now_s + BUSY_S
        wait_ms = min(BUSY_FETCH_WAIT_MS, self._fetch_wait_ms) if now_s < self._busy_until_s else self._fetch_wait_ms
        consumer._fetcher._fetch_max_wait_ms = wait_ms

    @property
    def _position(self) -> int:
        return self._last[0] + 1 if self._last is not None else 0

    def _take_all(self, records: Sequence[ConsumerRecord[bytes, bytes]]) -> bool:
        for record in records:
            if record.offset >= self._position:
                self._take(record)
            elif not self._is_known(record):
                return False
        if records and self._next_anchor is not None and records[0].offset <= self._next_anchor[0]:
            self._anchor, self._next_anchor = self._next_anchor, None
        return True

    def _is_known(self, record: ConsumerRecord[bytes, bytes]) -> bool:
        return self._anchor is not None and (record.offset > self._anchor[0] or _seen(record) == self._anchor)

    def _take(self, record: ConsumerRecord[bytes, bytes]) -> None:
        try:
            self._hand_over(record.key, record.value)
        except Exception as exc:
            self._throttle.warning("record", "a record of %s at offset %d is left out: %r", self._topic, record.offset, exc)
        self._last = _seen(record)
        self._anchor = self._anchor or self._last

    def _start_over(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        log.warning("%s was made anew and is read from its start; what was learned from the one before it serves until then", self._topic)
        self._last = self._anchor = self._next_anchor = None
        self._behind = True
        self._begin_log()
        consumer.seek(partition, 0)

    def _note_end(self) -> None:
        self._behind = False
        self._anchor = self._last
        self._caught_up()
        self._ready.set()

    def _look_back(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        """Read on from the anchor; what is known already is passed over."""
        self._next_anchor = self._last
        consumer.seek(partition, self._anchor[0] if self._anchor is not None else 0)


def _seen(record: ConsumerRecord[bytes, bytes]) -> Seen:
    return record.offset, hash((record.timestamp, record.key, record.value))
