"""Reads what a fetch brings batch by batch instead of record by record: overrides how aiokafka's fetcher parses.

aiokafka leads every record through three layers of generators into a dataclass, which costs more than parsing it, and computes the
checksum of a batch in software. Here a batch is checked by the processor's own instruction where there is a library for it, and
parsed in one call of aiokafka's compiled code. A consumer made with `value_deserializer=InChunks(...)` gets lists of what that
yields; all others get the `ConsumerRecord`s that they know.

Names of headers are read leniently. Kafka calls a header's name a string, but clients of librdkafka may write any bytes. aiokafka
raises `UnicodeDecodeError` at such a record and never gets past it: the partition would stand still for every reader. What cannot
be decoded is replaced instead; values and keys are untouched. A batch that can be read costs nothing more.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

try:
    from google_crc32c.cext import extend as extend_crc32c
except ImportError:  # no wheel for this platform: aiokafka's own, in software
    extend_crc32c = None

CHUNK_RECORDS = 1_000
"""Folding so many traces takes some 10 ms, during which the event loop does nothing else."""
HOLE_S = 1.0
"""So long a hole stands before it is read over. What is read in chunks (`eddy.traces`; all topics of the embedded broker) is not compacted: what is missing is hardly ever gone."""
_LENGTH_AND_CRC = struct.Struct(">8xi5xI")
"""How a batch begins: its offset, the length of what follows that length, leader epoch and format, checksum."""
_UP_TO_LENGTH, _UP_TO_CRC = 12, 21
"""Bytes of a batch that its length does not count, and that its checksum does not cover."""
_PIECE_BYTES = 1 << 16
"""Summed at a time: the library takes `bytes` only, and what is cut off to be one should stay in the processor's cache."""


class InChunks:
    """Asks a consumer, as its `value_deserializer`, for lists of records in the place of records: what `getmany` returns are lists of them.

    The records have `offset`, `timestamp`, `timestamp_type`, `key`, `value` and `headers`.

    Args:
        topics: those that come so, all where none is named.
        most: records in a list.
    """

    def __init__(self, *topics: str, most: int = CHUNK_RECORDS) -> None:
        self._topics, self.most = frozenset(topics), most
        self._holes: dict[Any, tuple[int, float]] = {}
        """By partition: the offset where the last hole began, and when it was first seen."""

    def __call__(self, value: bytes | None) -> bytes | None:
        """Change nothing: other topics' records go through here, as through any deserializer."""
        return value

    def may_skip(self, place: Any, offset: int) -> bool:
        """Whether nothing stands at an offset of a partition: not at once, since it may only not be shown yet.

        Where two producers write at once, the embedded broker now and then shows a batch before the one in front of it.
        """
        now_s = time.monotonic()
        if self._holes.get(place, (-1, 0.0))[0] != offset:
            self._holes[place] = (offset, now_s)
        return now_s - self._holes[place][1] >= HOLE_S

    def covers(self, topic: str) -> bool:
        """Whether a topic comes in lists."""
        return not self._topics or topic in self._topics


class _LenientBytes(bytearray):
    """Bytes whose slices decode with replacements."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _LenientBytes(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)


class LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # final upstream; its one method that decodes is 90 lines long
    """A batch whose header names need not be UTF-8."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _LenientBytes(self._buffer)


class FetchedBatches:
    """What a fetch has brought of a partition, as aiokafka splits it, knowing the bytes of the batch handed out last.

    Args:
        fetched: the bytes of whole batches, and perhaps of a part of one more.
    """

    def __init__(self, fetched: bytes) -> None:
        self._fetched, self._split = fetched, MemoryRecords(fetched)
        self._begin = self._end = self._crc = 0

    def has_next(self) -> bool:
        """Whether there is a batch."""
        return bool(self._split.has_next())

    def next_batch(self) -> Any:
        """Hand out the next batch; None where there is no other."""
        batch = self._split.next_batch()
        if batch is not None:
            self._begin = self._end
            length, self._crc = _LENGTH_AND_CRC.unpack_from(self._fetched, self._begin)
            self._end = self._begin + _UP_TO_LENGTH + length
        return batch

    def size_in_bytes(self) -> int:
        """All that was fetched."""
        return len(self._fetched)

    def is_sound(self, batch: Any) -> bool:
        """Whether the batch handed out last has the checksum that it says."""
        if extend_crc32c is None or type(batch) is not DefaultRecordBatch:
            return bool(batch.validate_crc())
        fetched, start, end = self._fetched, self._begin + _UP_TO_CRC, self._end
        found = 0
        while end - start > _PIECE_BYTES:
            found = extend_crc32c(found, fetched[start : start + _PIECE_BYTES])
            start += _PIECE_BYTES
        return bool(extend_crc32c(found, fetched[start:end]) == self._crc)

    def read_leniently(self) -> list[Any]:
        """Parse the batch handed out last, whatever its header names are."""
        return list(LenientBatch(self._fetched[self._begin : self._end]))


class BatchwiseRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is not typed
    """The records of a fetch of one partition: one after another, or list by list where the consumer asks for chunks."""

    def _unpack_records(self) -> Iterator[Any]:
        wanted = self._wanted
        return self._one_by_one() if wanted is None else self._chunks(wanted.most)

    @property
    def _wanted(self) -> InChunks | None:
        wanted = self._value_deserializer
        return wanted if isinstance(wanted, InChunks) and wanted.covers(self._tp.topic) else None

    def _one_by_one(self) -> Iterator[Any]:
        for records, behind in self._batches():
            for record in records:
                self.next_fetch_offset = record.offset + 1
                yield self._consumer_record(self._tp, record)
            self.next_fetch_offset = behind

    def _chunks(self, most: int) -> Iterator[list[Any]]:
        """Put small batches together, and take large ones apart."""
        kept: list[Any] = []
        behind = self.next_fetch_offset
        for records, behind in self._batches():
            kept += records
            if len(kept) >= most:
                whole = len(kept) - len(kept) % most
                yield from (self._handed_out(kept[start : start + most]) for start in range(0, whole, most))
                del kept[:whole]
            if not kept:
                self.next_fetch_offset = behind
        if kept:
            yield self._handed_out(kept)
            self.next_fetch_offset = behind

    def _handed_out(self, chunk: list[Any]) -> list[Any]:
        self.next_fetch_offset = chunk[-1].offset + 1
        return chunk

    def _batches(self) -> Iterator[tuple[list[Any], int]]:
        """Yield the records of each batch that are to be read, and the offset behind it: after a compaction there may be none with the last one.

        What lies behind a hole in a topic that is read in chunks is left to a later fetch.
        """
        fetched, position, is_checked, wanted = self._records, self.next_fetch_offset, self._check_crcs, self._wanted
        while (batch := fetched.next_batch()) is not None:
            if wanted is not None and type(batch) is DefaultRecordBatch and batch.base_offset > position and not wanted.may_skip(self._tp, position):
                return
            if is_checked and not fetched.is_sound(batch):
                raise CorruptRecordException(f"Invalid CRC - {self._tp}")
            records = [] if self._is_left_out(batch) else self._parsed(batch)
            if records and records[0].offset < position:  # a fetch begins with the batch that holds the offset asked for
                records = [record for record in records if record.offset >= position]
            position = batch.next_offset
            yield records, position

    def _parsed(self, batch: Any) -> list[Any]:
        try:
            return list(batch)
        except (UnicodeDecodeError, CorruptRecordException) as exc:
            if not isinstance(exc.__cause__ or exc, UnicodeDecodeError):
                raise
            return self._records.read_leniently()  # type: ignore[no-any-return]

    def _is_left_out(self, batch: Any) -> bool:
        """Whether a batch is a transaction's mark, or of a transaction that was aborted where the consumer reads committed ones."""
        is_mark: bool = batch.is_control_batch
        if self._isolation_level != fetcher.READ_COMMITTED or batch.producer_id is None:
            return is_mark
        self._consume_aborted_up_to(batch.base_offset)
        if is_mark and self._contains_abort_marker(batch):
            self._aborted_producers.discard(batch.producer_id)
        return is_mark or (batch.is_transactional and batch.producer_id in self._aborted_producers)


def read_by_batch() -> None:
    """Have every consumer of this process read its fetches batch by batch; to be called before one is started."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = FetchedBatches, BatchwiseRecords
