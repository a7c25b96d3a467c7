"""Putting back into an empty embedded broker what the archive holds, so that what was learned is there again.

Everything a worker needs to go on is a checkpoint at the archive's end. The log itself begins anew: clients publish all the time, and
what they write from the broker's first moment on are simply its first records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiosqlite

from stream.archive import schema
from stream.archive.blocks import Headers
from stream.archive.mirror import unpack_headers
from stream.archive.positions import Position
from stream.archive.refolding import Refolded, find_tail, refold
from stream.errors import BrokerNotEmptyError, BrokerUnavailableError, TopicMismatchError
from stream.fold.elsewhere import Outgoing
from stream.fold.spec import FoldSpec
from stream.provision import provision, worker_changelogs
from stream.reading.query_class import classifier
from stream.topic_reader import reading
from stream.topics import CHANGELOG, TRACES, checkpoints_topic

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from stream.settings import Settings

ARCHIVE_FILE = schema.ARCHIVE_FILE
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
    """A record to be published, as it was or, without a time, as of now."""

    topic: str
    partition: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers


async def restore(settings: Settings, *, path: Path | None = None, progress: Progress | None = None) -> int:
    """Put back what the archive holds, into an empty broker; what clients have written to its log already comes behind that.

    1. Create what topics are missing. Refuse a broker that holds records elsewhere than in its log, or in it the one archived last.
    2. Publish what is mirrored.
    3. For each partition, fold what is archived behind its newest checkpoint of the fold that is to run; where there is none, the fold
       is new, and folds all that is archived. Publish one full checkpoint at the archive's end.
    4. Tell the archive that it goes on at the new log's start, in one transaction.
    5. Send the forwards of 3 to the log.
    After a crash before the end of 5 throw the broker away, and restore into another empty one: each time the archive holds as much.

    Args:
        settings: of the broker and of the fold.
        path: of the archive; by default the one in the data folder.
        progress: told how far it has come.

    Returns:
        The number of records put back, published or folded; 0 where nothing was archived.

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
        await _refuse_other_count(database, settings)
        topics = worker_changelogs(FoldSpec.of(settings).id, partitions=settings.partitions)
        await provision(settings, topics)
        await _refuse_if_not_empty(settings)
        await _refuse_archived_log(settings, await schema.read_positions(database))  # 1
        async with _producer(settings) as producer:
            publisher = _Publisher(producer, progress)
            positions, forwards = await _put_back(database, settings, publisher)  # 2, 3
            await _tell(database, FoldSpec.of(settings).id, positions, publisher.mirrored_ends)  # 4
            await publisher.send(forwards)  # 5
    return publisher.done


async def _put_back(database: aiosqlite.Connection, settings: Settings, publisher: _Publisher) -> tuple[list[Position], list[Record]]:
    spec, classify = FoldSpec.of(settings), classifier(settings.classifier)
    places = await schema.read_positions(database)
    publisher.total = sum([(await find_tail(database, position, spec)).count for position in places]) + await _count_mirrored(database, spec.id)
    await publisher.restore(mirrored_records(database, spec.id))
    positions: list[Position] = []
    forwards: list[Record] = []

    async def emit(folded: int, outgoing: Sequence[Outgoing]) -> None:
        sent = [Record(each.topic, each.partition, None, each.key, each.value, each.headers) for each in outgoing]
        forwards.extend(record for record in sent if record.topic == TRACES.name)
        await publisher.send([record for record in sent if record.topic != TRACES.name])
        publisher.advance(folded)

    for place in places:  # one state in memory at a time
        refolded = await refold(database, await find_tail(database, place, spec), classify, emit)
        await publisher.send(_written(refolded, spec.id))
        positions.append(refolded.position)
    return positions, forwards


def _written(refolded: Refolded, fold: str) -> list[Record]:
    """What a worker writes of a full checkpoint: its parts, tombstones for what it replaces, and one part again."""
    if refolded.checkpoint is None:
        return []
    parts = refolded.checkpoint.parts
    last = [min(parts, key=lambda part: len(part.value))] if refolded.dead else []
    written = [*parts, *((key, None) for key in refolded.dead), *last]
    return [Record(checkpoints_topic(fold), refolded.position.partition, None, key, value, ()) for key, value in written]


class _Publisher:
    """Publishes; of what is restored it checks that every record stands where it should.

    Attributes:
        total: records to be put back.
        done: those that are.
        mirrored_ends: by topic and partition, up to where the new broker holds what is mirrored already.
    """

    def __init__(self, producer: AIOKafkaProducer, progress: Progress | None) -> None:
        self._producer, self._progress = producer, progress
        self.total = self.done = 0
        self.mirrored_ends: dict[tuple[str, int], int] = {}

    def advance(self, count: int) -> None:
        """Note that records are put back."""
        self.done += count
        if self._progress is not None and count:
            self._progress(self.done, self.total)

    async def send(self, records: Sequence[Record]) -> None:
        """Publish records that are new, wherever they come to stand, and wait until the broker has them."""
        for start in range(0, len(records), IN_FLIGHT):
            for acknowledgement in [await _send(self._producer, record) for record in records[start : start + IN_FLIGHT]]:
                await acknowledgement

    async def restore(self, records: AsyncIterator[Record]) -> None:
        """Publish records that were there before and wait until the broker has them.

        Raises:
            BrokerUnavailableError: one is not at its place.
        """
        sent: list[tuple[Record, int, asyncio.Future[object]]] = []
        async for record in records:
            place = (record.topic, record.partition)
            offset = self.mirrored_ends.get(place, 0)
            sent.append((record, offset, await _send(self._producer, record)))
            self.mirrored_ends[place] = offset + 1
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
        self.advance(len(sent))
        sent.clear()


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
        names = [name for name in cluster.topics() if name.startswith(("eddy.", "eddy-")) and name != TRACES.name]
        ends = await consumer.end_offsets([TopicPartition(name, number) for name in names for number in cluster.partitions_for_topic(name) or ()])
    except KafkaError as exc:
        raise BrokerUnavailableError(f"the broker at {settings.bootstrap} cannot be looked at ({exc!r}), but a restore begins with that; is it running?") from exc
    finally:
        await consumer.stop()
    if full := sorted({place.topic for place, end in ends.items() if end > 0}):
        raise BrokerNotEmptyError(f"the broker at {settings.bootstrap} holds records of {', '.join(full)}, but a restore needs an empty one")


async def _refuse_archived_log(settings: Settings, positions: Sequence[Position]) -> None:
    last = {position.partition: position for position in positions if position.record_hash is not None}
    async with reading(settings, TRACES.name, offsets={(TRACES.name, number): position.next_physical - 1 for number, position in last.items()}) as reader:
        async for record in reader.to_end():
            position = last.get(record.partition)
            if position is not None and record.offset == position.next_physical - 1 and position.recognises(record.value, record.timestamp):
                raise BrokerNotEmptyError(f"the archive holds what stands in {TRACES.name} of the broker at {settings.bootstrap}, but a restore needs an empty one")


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


async def _tell(database: aiosqlite.Connection, fold: str, positions: list[Position], mirrored_ends: Mapping[tuple[str, int], int]) -> None:
    async with database.execute("SELECT DISTINCT topic FROM mirrored") as cursor:
        dropped = [(topic,) async for (topic,) in cursor if not _kept(topic, fold)]
    await database.execute("BEGIN IMMEDIATE")
    try:
        await database.executemany(schema.PUT_POSITION, [astuple(position) for position in positions])
        await database.executemany("DELETE FROM mirrored WHERE topic = ?", dropped)
        await database.execute("DELETE FROM mirror_positions")
        await database.executemany("INSERT INTO mirror_positions VALUES (?, ?, ?)", [(*place, end) for place, end in mirrored_ends.items()])
        await database.execute("COMMIT")
    except BaseException:
        await schema.rollback(database)
        raise
