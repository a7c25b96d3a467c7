"""Reads records whose header names are not UTF-8, which no broker refuses and aiokafka stops at: overrides how its fetcher parses.

Kafka calls a header's name a string, but clients of librdkafka may write any bytes. aiokafka raises `UnicodeDecodeError` at such a
record and never gets past it: the partition would stand still for every reader. What cannot be decoded is replaced instead; values
and keys are untouched. A batch that can be read costs nothing more.
"""

from __future__ import annotations

import struct
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT, _LENGTH = 8, struct.Struct(">i")
"""Where a batch says how long its rest is."""


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


class RewindableRecords:
    """What a fetch has brought, as aiokafka parses it; the batch handed out last can be had again, leniently read.

    Args:
        fetched: the bytes of whole batches, and perhaps of a part of one more.
    """

    def __init__(self, fetched: bytes) -> None:
        self._fetched, self._records = fetched, MemoryRecords(fetched)
        self._begin = self._end = 0
        self._again: LenientBatch | None = None

    def has_next(self) -> bool:
        """Whether there is a batch."""
        return self._again is not None or self._records.has_next()

    def next_batch(self) -> Any:
        """Hand out the next batch."""
        if self._again is not None:
            batch, self._again = self._again, None
            return batch
        self._begin = self._end
        self._end += _LENGTH_AT + _LENGTH.size + _LENGTH.unpack_from(self._fetched, self._begin + _LENGTH_AT)[0]
        return self._records.next_batch()

    def size_in_bytes(self) -> int:
        """All that was fetched."""
        return int(self._records.size_in_bytes())

    def rewind(self) -> None:
        """Have the last batch handed out again, leniently read."""
        self._again = LenientBatch(memoryview(self._fetched)[self._begin : self._end])


class LenientPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is not typed
    """The records of a fetch: where one cannot be decoded, its batch is read again from that record on."""

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except (UnicodeDecodeError, CorruptRecordException) as exc:
            if not isinstance(self._records, RewindableRecords) or not isinstance(exc.__cause__ or exc, UnicodeDecodeError):
                raise
            self._records.rewind()
            self._records_iterator = self._unpack_records()  # it skips what lies before the record that failed
            return super().__next__()


def tolerate_header_names() -> None:
    """Have every consumer of this process read header names leniently; to be called before one is started."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = RewindableRecords, LenientPartitionRecords
