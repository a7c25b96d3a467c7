"""Putting back into an empty embedded broker what the archive holds, so that what was learned is there again.

Everything a worker needs to go on is a checkpoint and the log after it; how long the log was before that does not matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiosqlite

from stream.archive import schema
from stream.archive.blocks import COLUMNS, Headers, unpack
from stream.archive.mirror import CHANGELOG, checkpoints_topic, fold_end, routing_state_topic, unpack_headers
from stream.archive.positions import Position, hash_record
from stream.errors import BrokerNotEmptyError, BrokerUnavailableError, CheckpointGapError, TopicMismatchError
from stream.fold.spec import FoldSpec
from stream.provision import changelog, provision
from stream.topics import TRACES

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from stream.settings import Settings

logger = logging.getLogger(__name__)

ARCHIVE_FILE = "archive.sqlite3"
"""Name of the archive in the data folder."""
IN_FLIGHT = 2_000
"""Records sent and not acknowledged yet: some batches of each partition."""
BATCH_BYTES = 512 * 1024
LINGER_MS = 5
MAX_REQUEST_BYTES = 128 * 2**20
"""Above any record that a broker could have handed out."""

Progress = Callable[[int, int], None]
"""Told how many records are restored, and of how many."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record to be published, as it was."""

    topic: str
    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Tail:
    """What of a partition's log is to be restored.

    Attributes:
        position: where the archive stands.
        fold_end: offset, as the fold counts it, of its newest checkpoint; -1 where there is none and the log is folded anew.
        first_offset: logical offset of the first record to publish.
        count: how many.
    """

    position: Position
    fold_end: int
    first_offset: int
    count: int

    def restored(self, last: Record | None) -> Position:
        """Where the archive stands in the new log, whose first record is the tail's."""
        offset = self.position.offset
        seen = hash_record(last.value, last.timestamp_ms) if last is not None else None
        return replace(self.position, base=offset + 1 - self.count, shift=offset - (self.fold_end + self.count), epoch=self.position.epoch + 1, record_hash=seen)


async def restore(settings: Settings, *, path: Path | None = None, progress: Progress | None = None) -> int:
    """Put back what the archive holds, into an empty broker and before anyone else writes to it.

    1. Create what topics are missing, and refuse a broker that holds records.
    2. For each partition, find the newest checkpoint of the fold that is to run; the log is needed from right after its end. Where there
       is none, the fold is new, and folds all that is archived.
    3. Publish what is mirrored, then those records of the log, in order, with their times.
    4. Tell the archive under which offsets it finds them again, in one transaction.
    After a crash before the end of 4 the archive is as it was: throw the broker away, and restore into another empty one.

    Args:
        settings: of the broker and of the fold.
        path: of the archive; by default the one in the data folder.
        progress: told how far it has come.

    Returns:
        The number of records published; 0 where nothing was archived.

    Raises:
        BrokerNotEmptyError: the broker holds records already.
        BrokerUnavailableError: it cannot be reached, or lost one of them; begin again with an empty one.
        NotOwnedError: a learner is writing the archive.
        TopicMismatchError: the log that is archived has another number of partitions.
    """
    path = path or settings.data_dir / ARCHIVE_FILE
    if not path.exists():
        return 0
    async with _owned(path) as database:
        fold = FoldSpec.of(settings).id
        await _refuse_other_count(database, settings)
        await provision(settings, [changelog(checkpoints_topic(fold), partitions=settings.partitions), changelog(routing_state_topic(fold), partitions=1)])
        await _refuse_if_not_empty(settings)  # 1
        tails = await _tails(database, fold)  # 2
        publisher = _Publisher(progress, await _count_mirrored(database, fold) + sum(tail.count for tail in tails))
        async with _producer(settings) as producer:  # 3
            await publisher.publish(producer, mirrored_records(database, fold))
            for tail in tails:
                await publisher.publish(producer, _log(database, tail))
        await _tell(database, fold, tails, publisher)  # 4
    return publisher.done


class _Publisher:
    """Publishes, and checks that every record stands where it should."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total = progress, total
        self.done = 0
        self.ends: dict[tuple[str, int], int] = {}
        self.last: dict[tuple[str, int], Record] = {}

    async def publish(self, producer: AIOKafkaProducer, records: AsyncIterator[Record]) -> None:
        """Publish records and wait until the broker has them.

        Raises:
            BrokerUnavailableError: one is not at its place.
        """
        sent: list[tuple[Record, int, asyncio.Future[object]]] = []
        async for record in records:
            place = (record.topic, record.partition)
            offset = self.ends.get(place, 0)
            sent.append((record, offset, await _send(producer, record)))
            self.ends[place], self.last[place] = offset + 1, record
            if len(sent) >= IN_FLIGHT:
                await self._acknowledged(sent)
        await self._acknowledged(sent)

    async def _acknowledged(self, sent: list[tuple[Record, int, asyncio.Future[object]]]) -> None:
        for record, offset, acknowledgement in sent:
            placed = await acknowledgement
            if getattr(placed, "offset", None) != offset:
                raise BrokerUnavailableError(
                    f"a restored record of {record.topic} partition {record.partition} stands at offset {getattr(placed, 'offset', None)}, but it is number {offset};"
                    " somebody else writes, or one was written twice: restore into an empty broker again"
                )
        self.done += len(sent)
        sent.clear()
        if self._progress is not None:
            self._progress(self.done, self._total)


async def _send(producer: AIOKafkaProducer, record: Record) -> asyncio.Future[object]:
    key = b"" if record.key is None and record.value is None else record.key  # what has neither cannot be sent; it is refused either way
    future: asyncio.Future[object] = await producer.send(
        record.topic, value=record.value, key=key, partition=record.partition, timestamp_ms=record.timestamp_ms, headers=list(record.headers)
    )
    return future


@asynccontextmanager
async def _owned(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    lock = schema.WriterLock(path)
    try:
        database = await schema.open_for_writing(path)
        try:
            yield database
        finally:
            await database.close()
    finally:
        lock.release()


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError

    producer = AIOKafkaProducer(**settings.client_options, acks="all", linger_ms=LINGER_MS, max_batch_size=BATCH_BYTES, max_request_size=MAX_REQUEST_BYTES)
    try:
        await producer.start()
        yield producer
    except KafkaError as exc:
        raise BrokerUnavailableError(f"the broker at {settings.bootstrap} failed while records were restored into it ({exc!r}); begin again with an empty one") from exc
    finally:
        await producer.stop()


async def _refuse_other_count(database: aiosqlite.Connection, settings: Settings) -> None:
    """Compare the partitions before anything is created; an archive of old does not say how many there were, only which are there."""
    stated = await schema.scalar(database, "SELECT value FROM marks WHERE name = ?", (schema.PARTITIONS_MARK,))
    archived = stated or await schema.scalar(database, "SELECT max(partition) + 1 FROM positions")
    if archived > settings.partitions or (stated and stated != settings.partitions):
        raise TopicMismatchError(
            f"the archive in {settings.data_dir} holds a log of {archived} partitions and these settings ask for {settings.partitions}, but another number moves trace ids;"
            f" set EDDY_PARTITIONS={archived}, or another EDDY_DATA_DIR"
        )


async def _refuse_if_not_empty(settings: Settings) -> None:
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.errors import KafkaError

    consumer = AIOKafkaConsumer(**settings.client_options)
    try:
        await consumer.start()
        cluster = await consumer._client.fetch_all_metadata()
        names = [name for name in cluster.topics() if name.startswith(("eddy.", "eddy-"))]
        ends = await consumer.end_offsets([TopicPartition(name, number) for name in names for number in cluster.partitions_for_topic(name) or ()])
    except KafkaError as exc:
        raise BrokerUnavailableError(f"the broker at {settings.bootstrap} cannot be looked at ({exc!r}), but a restore begins with that; is it running?") from exc
    finally:
        await consumer.stop()
    if full := sorted({place.topic for place, end in ends.items() if end > 0}):
        raise BrokerNotEmptyError(f"the broker at {settings.bootstrap} holds records of {', '.join(full)}, but a restore needs an empty one; start a new one")


async def _tails(database: aiosqlite.Connection, fold: str) -> list[Tail]:
    return [await _tail(database, fold, position) for position in await schema.read_positions(database)]


async def _tail(database: aiosqlite.Connection, fold: str, position: Position) -> Tail:
    end = await _end_if_whole(database, fold, position.partition)
    first = -1 if end is None else end + 1 + position.shift
    count = await schema.scalar(database, "SELECT sum(last_offset - max(first_offset, ?1) + 1) FROM blocks WHERE partition = ?2 AND last_offset >= ?1", (first, position.partition))
    return Tail(position, -1 if end is None else end, first, count)


async def _end_if_whole(database: aiosqlite.Connection, fold: str, partition: int) -> int | None:
    """Return the end of the newest checkpoint; of a mirrored changelog that a worker could not recover from, drop what there is."""
    try:
        return await fold_end(database, fold, partition)
    except CheckpointGapError as exc:
        logger.error("the mirrored checkpoints of partition %d do not stand: %s; its log is folded anew, as far as it is archived", partition, exc)
        await database.execute("DELETE FROM mirrored WHERE topic = ? AND partition = ?", (checkpoints_topic(fold), partition))
        return None


def _kept(topic: str, fold: str) -> bool:
    """Whether a mirrored topic is restored: another fold's checkpoints stand on a log that will not be there."""
    changelog_of = CHANGELOG.fullmatch(topic)
    return changelog_of is None or changelog_of["fold"] == fold


async def _count_mirrored(database: aiosqlite.Connection, fold: str) -> int:
    async with database.execute("SELECT topic, count(*) FROM mirrored GROUP BY topic") as cursor:
        return sum([count async for topic, count in cursor if _kept(topic, fold)])


async def mirrored_records(database: aiosqlite.Connection, fold: str) -> AsyncIterator[Record]:
    """Read what is mirrored in the order in which it was written: in every life of the broker offsets begin again."""
    query = "SELECT topic, partition, timestamp_ms, key, value, headers FROM mirrored ORDER BY topic, partition, id"
    async with database.execute(query) as cursor:
        async for topic, partition, timestamp_ms, key, value, headers in cursor:
            if _kept(topic, fold):
                yield Record(topic, partition, max(0, timestamp_ms), key, value, unpack_headers(headers))


async def _log(database: aiosqlite.Connection, tail: Tail) -> AsyncIterator[Record]:
    query = f"SELECT {COLUMNS} FROM blocks WHERE partition = ? AND last_offset >= ? ORDER BY last_offset"  # noqa: S608 - a constant
    async with database.execute(query, (tail.position.partition, tail.first_offset)) as cursor:
        async for row in cursor:
            for entry in unpack(tuple(row)).entries():
                if entry.offset >= tail.first_offset:
                    yield Record(TRACES.name, entry.partition, max(0, entry.timestamp_ms), entry.key, entry.value, entry.headers)


async def _tell(database: aiosqlite.Connection, fold: str, tails: list[Tail], publisher: _Publisher) -> None:
    positions = [tail.restored(publisher.last.get((TRACES.name, tail.position.partition))) for tail in tails]
    async with database.execute("SELECT DISTINCT topic FROM mirrored") as cursor:
        dropped = [(topic,) async for (topic,) in cursor if not _kept(topic, fold)]
    await database.execute("BEGIN IMMEDIATE")
    try:
        await database.executemany(schema.PUT_POSITION, [astuple(position) for position in positions])
        await database.executemany("DELETE FROM mirrored WHERE topic = ?", dropped)
        await database.execute("DELETE FROM mirror_positions")
        await database.executemany(
            "INSERT INTO mirror_positions VALUES (?, ?, ?)", [(topic, partition, end) for (topic, partition), end in publisher.ends.items() if topic != TRACES.name]
        )
        await database.execute("COMMIT")
    except BaseException:
        await schema.rollback(database)
        raise
