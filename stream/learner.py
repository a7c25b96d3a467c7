"""The learner's process: archives the log in its own time, mirrors what an embedded restart needs, and serves the page.

It is in nobody's way: a worker does not wait for it, and what it misses while it is away it reads when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream import metrics
from stream.archive.archive import Archive, Batch
from stream.archive.fitting import Modeller
from stream.archive.following import POLL_MS, MirrorFollower, Silence
from stream.archive.intake import Rules
from stream.archive.mirror import Mirror
from stream.archive.restore import ARCHIVE_FILE
from stream.broker import remembered_port
from stream.cycles.service import CycleService
from stream.errors import BrokerUnavailableError
from stream.fold.spec import FoldSpec
from stream.frames import receive_by_frame
from stream.process import tune, until_told
from stream.reading.query_class import classifier
from stream.record_batches import InChunks, read_by_batch
from stream.topics import TRACES
from stream.transport.probe import LogView, look

if TYPE_CHECKING:
    from stream.settings import Settings

logger = logging.getLogger(__name__)

GROUP = "eddy-learner"
"""Group under which positions are committed for lag monitors; they never decide where to read on."""
INDEX_AFTER_S = 1.0
INDEX_AFTER_RECORDS = 50_000
"""Records in a batch of the indexes: larger ones change fewer pages a record, and take some 200 ms."""
TIDY_EVERY_S = 10.0
COMMIT_EVERY_S = 1.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.2, 10.0
STALLED_S = 60.0
"""A round that takes longer means that the process should be started again."""
FETCH_BYTES = 4 * 2**20
CHUNK_RECORDS = 1_000_000
"""What a fetch brings of a partition is one list."""
ROUND_S, BUSY_RECORDS = 0.1, range(500, 2_000)
"""A round that follows one of so many records begins no sooner than so long after it: a transaction takes 1 ms however little is in it. With more in it it does not show."""


class Learner:
    """Reads the log and archives it, over broker restarts.

    Args:
        settings: of the deployment.
        archive: owned by this process.
        mirror: what the archive mirrors; None where it does not.

    Attributes:
        problem: what keeps it from reading now; empty: nothing does.
    """

    def __init__(self, settings: Settings, archive: Archive, mirror: Mirror | None) -> None:
        self._settings, self._archive, self._mirror = settings, archive, mirror
        self._due: dict[str, float] = {}
        self._writing: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None
        self.problem = "is starting"
        self.rows = 0
        self._last_round_s = time.monotonic()

    async def run(self) -> None:
        """Read until cancelled; a broker that is away is tried again after a growing delay."""
        delay_s = FIRST_DELAY_S
        while True:
            try:
                async with self._consumer() as consumer:
                    await self._place(consumer)
                    delay_s, self.problem = FIRST_DELAY_S, ""
                    await self._read(consumer)
            except (KafkaError, BrokerUnavailableError, OSError) as exc:
                self.problem = f"cannot read from {self._settings.bootstrap}: {exc!r}"
                logger.warning("%s; trying again in %.1f s", self.problem, delay_s)
                self._last_round_s = time.monotonic()
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def stalled(self) -> str:
        """Say what is wrong where nothing has moved for too long."""
        silent_s = time.monotonic() - self._last_round_s
        return f"has done nothing for {silent_s:.0f} s" if silent_s > STALLED_S else ""

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        read_by_batch()
        receive_by_frame()
        consumer = AIOKafkaConsumer(
            **self._settings.client_options,
            group_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=POLL_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
            value_deserializer=InChunks(most=CHUNK_RECORDS),
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            if self._committing is not None:
                self._committing.cancel()
            await consumer.stop()

    async def _place(self, consumer: AIOKafkaConsumer) -> None:
        """Assign all partitions and seek to where the archive stands.

        1. Look at the log around the last record archived.
        2. Where it holds another record, or none, it was made anew: number on from its start.
        3. Where the broker has removed what was to be read next, count what is lost.
        """
        partitions = await self._partitions_of(consumer)
        views = await look(self._settings.client_options, {(TRACES.name, number): max(self._archive.position(number).next_physical - 1, 0) for number in partitions})  # 1
        for number in partitions:
            view = views[TRACES.name, number]
            if self._is_another_log(number, view):  # 2
                logger.error("the log of partition %d was made anew; its records are archived from %d on", number, self._archive.position(number).offset + 1)
                await self._archive.begin_epoch(number, first_physical=view.start)
            if self._archive.position(number).next_physical < view.start:  # 3
                lost = await self._archive.skip_lost(number, to_physical=view.start)
                logger.warning("partition %d begins at %d: %d records were removed before they were archived", number, view.start, lost)
        self._assign(consumer, [TopicPartition(TRACES.name, number) for number in partitions])

    async def _partitions_of(self, consumer: AIOKafkaConsumer) -> list[int]:
        cluster = await consumer._client.fetch_all_metadata()
        if not (partitions := cluster.partitions_for_topic(TRACES.name)):
            raise BrokerUnavailableError(f"{self._settings.bootstrap} has no topic {TRACES.name} yet, but the learner archives it; a worker or `eddy up` creates it")
        return sorted(partitions)

    async def _look_again(self, consumer: AIOKafkaConsumer) -> None:
        numbers = [place.partition for place in consumer.assignment()]
        views = await look(self._settings.client_options, {(TRACES.name, number): max(self._archive.position(number).next_physical - 1, 0) for number in numbers})
        if anew := [number for number in numbers if self._is_another_log(number, views[TRACES.name, number])]:
            raise BrokerUnavailableError(f"the log of partitions {anew} is another one since the broker is back")

    def _is_another_log(self, number: int, view: LogView) -> bool:
        position = self._archive.position(number)
        last = position.next_physical - 1
        if last < view.start:
            return False  # nothing of this log is archived, or retention has taken it
        if view.end <= last or view.record is None:
            return True
        return position.record_hash is not None and (view.record.offset != last or not position.recognises(view.record.value, view.record.timestamp))

    def _assign(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        consumer.assign(list(partitions))
        for place in partitions:
            if place.topic == TRACES.name:
                consumer.seek(place, self._archive.position(place.partition).next_physical)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        mirroring = asyncio.create_task(MirrorFollower(self._settings, self._mirror).run()) if self._mirror is not None else None
        silence = Silence()
        try:
            while True:
                silence.about_to_fetch()
                fetched = await consumer.getmany(timeout_ms=POLL_MS)
                if silence.calls_for_a_look(consumer, fetched):
                    await self._written()
                    await self._look_again(consumer)
                if not fetched and self._writing is not None and not self._writing.done():
                    continue
                batch = await self._archive.take({place.partition: list(chain.from_iterable(chunks)) for place, chunks in fetched.items()})
                await self._written()
                self._writing = asyncio.create_task(self._write(batch))
                self._measure(consumer)
                self._commit(consumer)
                if mirroring is not None and mirroring.done():
                    mirroring.result()
                if len(batch) in BUSY_RECORDS:
                    await asyncio.sleep(silence.left_of_round(ROUND_S))
        finally:
            await self._written()
            if mirroring is not None:
                mirroring.cancel()
                with contextlib.suppress(asyncio.CancelledError, KafkaError, BrokerUnavailableError, OSError):
                    await mirroring

    async def _written(self) -> None:
        """Wait until what was taken is archived."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _write(self, batch: Batch) -> None:
        """Archive a batch, while the next one is fetched and read."""
        started_s = time.monotonic()
        if archived := await self._archive.write(batch):
            metrics.ARCHIVE_COMMIT_SECONDS.observe(time.monotonic() - started_s)
            metrics.ARCHIVED.inc(archived)
        if self._archive.unindexed >= INDEX_AFTER_RECORDS or (self._archive.unindexed and self._is_due("index", INDEX_AFTER_S)):
            await self._archive.index()
        if self._is_due("tidy", TIDY_EVERY_S):
            await self._tidy(archived)
        self._last_round_s = time.monotonic()

    async def _tidy(self, archived: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        before_ms = now_ms - int(self._settings.archive_max_age_s * 1000)
        left = 2 * archived  # never slower than what comes in
        while (removed := await self._archive.remove_oldest(before_ms=before_ms, max_bytes=self._settings.archive_max_bytes)).records:
            metrics.ARCHIVE_REMOVED.labels(removed.reason).inc(removed.records)
            if (left := left - removed.records) <= 0:
                self._due.pop("tidy", None)  # there may be more: next round, after the records that come in
                break
        await self._archive.tidy(now_ms=now_ms, forgotten_before_ms=min(before_ms, now_ms - TRACES.retention_ms))
        size, self.rows = await self._archive.size()
        metrics.ARCHIVE_BYTES.set(size)
        metrics.ARCHIVE_ROWS.labels("records").set(self.rows)

    def _measure(self, consumer: AIOKafkaConsumer) -> None:
        for place in consumer.assignment():
            if (end := consumer.highwater(place)) is not None:
                metrics.ARCHIVE_LAG.labels(place.partition).set(max(0, end - self._archive.position(place.partition).next_physical))

    def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Tell lag monitors where the archive stands, beside the reading; that it fails sometimes does not matter."""
        if (self._committing is None or self._committing.done()) and self._is_due("commit", COMMIT_EVERY_S):
            offsets = {place: self._archive.position(place.partition).next_physical for place in consumer.assignment()}
            self._committing = asyncio.create_task(_committed(consumer, offsets))

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._due.get(what, 0.0):
            return False
        self._due[what] = now_s + every_s
        return True


async def _committed(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    try:
        await asyncio.wait_for(consumer.commit(offsets), 10.0)
    except (KafkaError, TimeoutError, ValueError) as exc:
        logger.info("positions were not committed: %r", exc)


async def run_learner(settings: Settings, *, mirror: bool | None = None) -> None:
    """Run the learner until SIGTERM, SIGINT or a cancellation.

    1. Own the archive; another learner's is refused.
    2. Serve metrics, health and the page.
    3. Read, archive, index; over broker restarts. Where routers refine by a model, fit and publish it. Beside it, have learning cycles run.

    Args:
        settings: of the deployment.
        mirror: whether to mirror what an embedded restart needs; None: where the broker is the data folder's own.

    Raises:
        NotOwnedError: another learner has the archive.
    """
    mirrored = Mirror(FoldSpec.of(settings).id) if (is_embedded(settings) if mirror is None else mirror) else None
    rules = Rules(partitions=settings.partitions, max_bytes=settings.max_record_bytes, classify=classifier(settings.classifier), apart=settings.keeps_tenants_apart)
    archive = await Archive.open(settings.data_dir / ARCHIVE_FILE, rules, mirror=mirrored)  # 1
    try:
        learner = Learner(settings, archive, mirrored)
        async with _served(settings, learner):  # 2
            await until_told(_work(settings, learner))  # 3
        await archive.index()
    finally:
        await archive.close()


async def _work(settings: Settings, learner: Learner) -> None:
    models = [Modeller(settings, settings.data_dir / ARCHIVE_FILE).run()] if Modeller.is_wanted(settings) else []
    async with asyncio.TaskGroup() as group:  # unlike gather, waits for all of them to end in order
        for work in (learner.run(), CycleService(settings).run(), *models):
            group.create_task(work)


def is_embedded(settings: Settings) -> bool:
    """Whether the broker is the one that the data folder keeps: it then has nothing but what the archive holds."""
    port = remembered_port(settings.data_dir)
    return port is not None and settings.bootstrap == f"127.0.0.1:{port}"


@asynccontextmanager
async def _served(settings: Settings, learner: Learner) -> AsyncIterator[None]:
    from stream.health import HealthServer

    server = HealthServer(
        host=settings.metrics_host,
        port=settings.learner_port,
        address_file=settings.data_dir / "learner.json",
        is_live=learner.stalled,
        is_ready=lambda: learner.problem,
        metrics=metrics.LEARNER,
        mount=lambda app: _mount_page(app, settings, learner),
    )
    await server.start()
    try:
        yield
    finally:
        await server.stop()


def _mount_page(app: Any, settings: Settings, learner: Learner) -> None:
    from stream.web.page import mount

    mount(app, settings, archive_rows=lambda: learner.rows)


def main(settings: Settings) -> None:
    """Run the learner as a process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    tune()
    asyncio.run(run_learner(settings))
