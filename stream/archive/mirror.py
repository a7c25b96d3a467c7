"""The mirror: raw records of the checkpoints and of every compacted or small topic, for an embedded broker that has lost everything.

A checkpoint, and a running total, may be ahead of the archive: a restart that brought it back without the records it was folded from
would leave a hole in the log. So what stands for the log up to some offset is held back until the archive has that offset, and is then
written in the same transaction. What stands behind it in its topic waits with it: the mirror of a topic is always a prefix of it.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import aiosqlite
import msgspec

from stream.archive.blocks import Headers
from stream.archive.intake import LogRecord, headers_of
from stream.archive.positions import Position
from stream.errors import CheckpointGapError
from stream.fold.checkpoint import checkpoint_end
from stream.fold.parts import KEY
from stream.topics import CHANGELOG, STATISTICS, TOPICS, TRACES, checkpoints_topic

HELD_BYTES = 64 * 2**20
"""Values held back above which no more of the topic is read: at some 25 bytes a record folded, the archive is then millions behind."""

TopicPartition = tuple[str, int]
Coverage = tuple[int, int]
"""Partition of the log and offset, as the fold counts it, that must be archived first."""


def is_mirrored(topic: str) -> bool:
    """Whether a topic is kept in the mirror: all of Eddy's but the log itself.

    Example:
        >>> [is_mirrored(topic) for topic in ("eddy.traces", "eddy.routing", "eddy-0a1b-checkpoints-changelog", "orders")]
        [False, True, True, False]
    """
    return topic in _RETENTIONS_MS or CHANGELOG.fullmatch(topic) is not None


_RETENTIONS_MS = {topic.name: None if topic.compacted else topic.retention_ms for topic in TOPICS if topic is not TRACES}


class _StatisticsAt(msgspec.Struct):
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Held:
    """A record that waits for what it stands for to be archived."""

    record: LogRecord
    needs: Coverage | None


@dataclass(slots=True)
class Covered:
    """What may be written: by topic and partition, the records next in line."""

    records: dict[TopicPartition, list[LogRecord]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.records)

    async def write(self, database: aiosqlite.Connection) -> None:
        """Write them, inside the caller's transaction: of a compacted topic the last record of every key, of another one all."""
        for (topic, partition), records in self.records.items():
            if _RETENTIONS_MS.get(topic) is None:
                await _replace(database, topic, partition, {record.key: record for record in records if record.key is not None})
            else:
                await database.executemany(_INSERT, [_row(topic, partition, record) for record in records])
            await database.execute("INSERT OR REPLACE INTO mirror_positions VALUES (?, ?, ?)", (topic, partition, records[-1].offset + 1))


class Mirror:
    """What is read of the mirrored topics and not written yet.

    Args:
        fold: id of the fold whose worker runs here; the records since its last checkpoint are what a restore needs.

    Attributes:
        next_offsets: by topic and partition, the offset up to which the mirror has all.
    """

    def __init__(self, fold: str) -> None:
        self._fold = fold
        self._held: dict[TopicPartition, deque[Held]] = {}
        self._ends: dict[int, int] = {}
        self.next_offsets: dict[TopicPartition, int] = {}

    async def load(self, database: aiosqlite.Connection) -> None:
        """Find out where the mirror stands."""
        async with database.execute("SELECT topic, partition, next_offset FROM mirror_positions") as cursor:
            self.next_offsets = {(topic, partition): offset async for topic, partition, offset in cursor}

    def offer(self, topic: str, partition: int, records: Iterable[LogRecord]) -> None:
        """Take the next records of a mirrored topic."""
        held = self._held.setdefault((topic, partition), deque())
        held.extend(Held(record, coverage_of(topic, record)) for record in records)

    def read_from(self, topic: str, partition: int) -> int:
        """Offset to read next: behind what is written and what is held."""
        held = self._held.get((topic, partition))
        return held[-1].record.offset + 1 if held else self.next_offsets.get((topic, partition), 0)

    def rewind(self, topic: str, partition: int) -> None:
        """Forget what is held of a topic and where it stands: it was made anew."""
        self._held.pop((topic, partition), None)
        self.next_offsets.pop((topic, partition), None)
        self._ends.clear()

    def is_full(self, topic: str, partition: int) -> bool:
        """Whether so much is held of a topic that no more of it should be read."""
        return sum(len(held.record.value or b"") for held in self._held.get((topic, partition), ())) > HELD_BYTES

    @property
    def held(self) -> int:
        """Records that wait."""
        return sum(map(len, self._held.values()))

    def covered(self, positions: Mapping[int, Position]) -> Covered:
        """Return what may be written once the log is archived up to these positions."""
        prefixes = {place: list(_prefix(held, positions)) for place, held in self._held.items()}
        return Covered({place: records for place, records in prefixes.items() if records})

    def release(self, written: Covered) -> None:
        """Let go of what is written."""
        for place, records in written.records.items():
            if (held := self._held.get(place)) is None:
                continue  # made anew meanwhile
            for _ in records:
                held.popleft()
            self.next_offsets[place] = records[-1].offset + 1

    async def needed_from(self, database: aiosqlite.Connection, positions: Mapping[int, Position]) -> dict[int, int]:
        """Return, by partition, the first logical offset that a restore would need: right after the newest checkpoint.

        To find it takes the whole changelog, so what was found is told again until `look_again`: an older checkpoint only keeps more.
        """
        try:
            for number in positions.keys() - self._ends.keys():
                if (end := await fold_end(database, self._fold, number)) is not None:
                    self._ends[number] = end
        except CheckpointGapError:
            return {}  # the next checkpoints may tell; until then everything is needed
        return {number: self._ends[number] + 1 + positions[number].shift for number in positions if number in self._ends}

    def look_again(self) -> None:
        """Have `needed_from` look for newer checkpoints when it is asked next."""
        self._ends.clear()

    async def expire(self, database: aiosqlite.Connection, now_ms: int) -> None:
        """Remove what is older than its topic keeps, inside the caller's transaction."""
        for topic, retention_ms in _RETENTIONS_MS.items():
            if retention_ms is not None:
                await database.execute("DELETE FROM mirrored WHERE topic = ? AND timestamp_ms < ?", (topic, now_ms - retention_ms))


def coverage_of(topic: str, record: LogRecord) -> Coverage | None:
    """Return what must be archived before a record may be mirrored; None where nothing must."""
    changelog = CHANGELOG.fullmatch(topic)
    try:
        if changelog is not None and changelog["table"] == "checkpoints" and record.key is not None:
            partition, end, *_ = KEY.unpack(record.key)
            return partition, end
        if topic == STATISTICS.name and record.value is not None:
            at = _decode_statistics(record.value)
            return at.partition, at.offset
    except (struct.error, msgspec.MsgspecError):
        return None  # no writer of Eddy's: kept as it is, as the topic keeps it
    return None


async def fold_end(database: aiosqlite.Connection, fold: str, partition: int) -> int | None:
    """Return the end of the newest mirrored checkpoint of a partition, as the fold counts offsets; None where there is none."""
    query = "SELECT key, value FROM mirrored WHERE topic = ? AND partition = ?"
    async with database.execute(query, (checkpoints_topic(fold), partition)) as cursor:
        return checkpoint_end({key: value async for key, value in cursor})


def pack_headers(headers: Headers) -> bytes | None:
    """Return headers as one column; None where there are none."""
    return msgspec.msgpack.encode(headers) if headers else None


def unpack_headers(packed: bytes | None) -> Headers:
    """Return the headers of a column."""
    return _decode_headers(packed) if packed is not None else ()


_decode_statistics = msgspec.json.Decoder(_StatisticsAt).decode
_decode_headers = msgspec.msgpack.Decoder(Headers).decode
_INSERT = "INSERT INTO mirrored (topic, partition, offset, timestamp_ms, key, value, headers) VALUES (?, ?, ?, ?, ?, ?, ?)"


def _prefix(held: Iterable[Held], positions: Mapping[int, Position]) -> Iterator[LogRecord]:
    for each in held:
        if each.needs is not None and not _is_covered(each.needs, positions):
            return
        yield each.record


def _is_covered(needs: Coverage, positions: Mapping[int, Position]) -> bool:
    partition, offset = needs
    return offset < 0 or (partition in positions and positions[partition].covers(offset))


async def _replace(database: aiosqlite.Connection, topic: str, partition: int, records: Mapping[bytes | None, LogRecord]) -> None:
    await database.executemany("DELETE FROM mirrored WHERE topic = ? AND partition = ? AND key = ?", [(topic, partition, key) for key in records])
    await database.executemany(_INSERT, [_row(topic, partition, record) for record in _in_order(records.values()) if record.value is not None])


def _in_order(records: Iterable[LogRecord]) -> list[LogRecord]:
    return sorted(records, key=lambda record: record.offset)


def _row(topic: str, partition: int, record: LogRecord) -> tuple[object, ...]:
    return topic, partition, record.offset, record.timestamp, record.key, record.value, pack_headers(headers_of(record))
