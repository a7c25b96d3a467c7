"""Following a broker beside the archive: the topics that are mirrored, and whether it was away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from stream import metrics
from stream.archive.mirror import Mirror, is_mirrored
from stream.errors import BrokerUnavailableError
from stream.record_batches import InChunks, read_by_batch

if TYPE_CHECKING:
    from stream.settings import Settings

logger = logging.getLogger(__name__)

POLL_MS = 100
"""Longest wait for a fetch; the embedded broker does not wake a waiting one."""
DISCOVER_EVERY_S = 2.0
"""How often new topics to mirror are looked for: a worker makes its changelogs when it first starts."""
SILENT_S = 0.5
"""A broker answers a fetch within its wait; one that was killed takes longer to come back."""
GIVE_UP_S = 10.0


class MirrorFollower:
    """Reads the topics that are mirrored, with a consumer of its own; what it reads is written with the next chunks of the log.

    Args:
        settings: how the broker is reached.
        mirror: takes the records.
    """

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self._mirror = mirror
        read_by_batch()
        self._consumer = AIOKafkaConsumer(**settings.client_options, group_id=None, auto_offset_reset="none", fetch_max_wait_ms=POLL_MS, value_deserializer=InChunks())
        self._discover_at_s = 0.0

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            KafkaError: the broker cannot be reached.
        """
        await self._consumer.start()
        try:
            while True:
                if time.monotonic() >= self._discover_at_s:
                    await self._discover()
                await self._read()
        finally:
            await self._consumer.stop()

    async def _read(self) -> None:
        consumer, mirror = self._consumer, self._mirror
        for place in consumer.assignment():
            (consumer.pause if mirror.is_full(place.topic, place.partition) else consumer.resume)(place)
        try:
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
        except OffsetOutOfRangeError as exc:
            self._rewind(exc.args[0])
            return
        for place, chunks in fetched.items():
            records = list(chain.from_iterable(chunks))
            mirror.offer(place.topic, place.partition, records)
            metrics.MIRRORED.labels(place.topic).inc(len(records))
        if not consumer.assignment():
            await asyncio.sleep(POLL_MS / 1000)

    async def _discover(self) -> None:
        consumer = self._consumer
        cluster = await consumer._client.fetch_all_metadata()  # the consumer itself knows no topic that was made after it was assigned others
        topics = [topic for topic in cluster.topics() if is_mirrored(topic)]
        places = {TopicPartition(topic, number) for topic in topics for number in cluster.partitions_for_topic(topic) or ()}
        self._discover_at_s = time.monotonic() + (DISCOVER_EVERY_S if places else 0)
        if not (new := places - consumer.assignment()):
            return
        positions = {place: await consumer.position(place) for place in consumer.assignment()}
        consumer.assign(list(places))
        for place, offset in positions.items():
            consumer.seek(place, offset)
        for place in new:
            consumer.seek(place, self._mirror.read_from(place.topic, place.partition))

    def _rewind(self, places: Iterable[TopicPartition]) -> None:
        for place in places:
            logger.warning("%s partition %d ends before what is mirrored of it: it is mirrored from its start", place.topic, place.partition)
            self._mirror.rewind(place.topic, place.partition)
            self._consumer.seek(place, 0)


class Silence:
    """Notices that the broker was away: a fetch that goes on in a log that was made anew meanwhile brings other records, and no error."""

    def __init__(self) -> None:
        self._fetching_s = time.monotonic()
        self._busy_s = 0.0
        self._doubted = False

    def about_to_fetch(self) -> None:
        """Note how long this process itself was busy: its own time is no silence of the broker's."""
        now_s = time.monotonic()
        self._busy_s, self._fetching_s = now_s - self._fetching_s, now_s

    def left_of_round(self, round_s: float) -> float:
        """Seconds until a round of so long ends that began with the last fetch; 0 where it is over."""
        return max(0.0, self._fetching_s + round_s - time.monotonic())

    def calls_for_a_look(self, consumer: AIOKafkaConsumer, fetched: object) -> bool:
        """Whether the broker answers again after a silence: nothing must be taken from it before the log was looked at.

        Raises:
            BrokerUnavailableError: it has been silent for too long.
        """
        stamps = [consumer.last_poll_timestamp(place) for place in consumer.assignment()]
        silent_s = 0.0 if None in stamps else time.time() - min(stamps) / 1000 - self._busy_s - POLL_MS / 1000
        if silent_s > GIVE_UP_S:
            raise BrokerUnavailableError(f"the broker has not answered a fetch for {silent_s:.0f} s")
        is_silent = silent_s > SILENT_S
        doubted, self._doubted = self._doubted or is_silent, is_silent
        return doubted and (bool(fetched) or not is_silent)
