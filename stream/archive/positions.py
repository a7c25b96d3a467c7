"""Up to where each partition of the log is archived, and how a log that was made anew is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import xxhash

from stream.fold.state import LOG_TIME_MAX_MS, LOG_TIME_STEP_MS, record_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The end of what is archived of one partition.

    Attributes:
        partition: its number.
        offset: logical offset of the last record archived, -1 where there is none.
        base: logical minus physical offset; changes only when the log was made anew.
        shift: logical offset here minus the fold's own for the same record; other than 0 only after a restore for a fold that began anew.
        epoch: how often the log was made anew.
        record_hash: of the record at `offset`; None where it was never read.
        log_time_ms: the partition's time: never back, never forward by more than a day at one record.
    """

    partition: int
    offset: int = -1
    base: int = 0
    shift: int = 0
    epoch: int = 0
    record_hash: int | None = None
    log_time_ms: int = -1

    @property
    def next_physical(self) -> int:
        """Physical offset to read next."""
        return self.offset + 1 - self.base

    def covers(self, fold_offset: int) -> bool:
        """Whether all is archived up to an offset as the fold counts it."""
        return fold_offset + self.shift <= self.offset

    def recognises(self, value: bytes | None, timestamp_ms: int) -> bool:
        """Whether this is the record that was archived at `offset`; if not, the log was made anew."""
        return self.record_hash in (None, hash_record(value, timestamp_ms))

    def in_new_log(self, first_physical: int) -> Position:
        """Go on in a log that was made anew: its first record is numbered right after the last one archived."""
        return replace(self, base=self.offset + 1 - first_physical, epoch=self.epoch + 1)


def hash_record(value: bytes | None, timestamp_ms: int) -> int:
    """Return the fold's hash of a record, as the signed 64-bit integer that SQLite stores."""
    return record_hash(value, timestamp_ms) - (1 << 63)


HASH_BITS = 63
"""Of the hash of a trace id: what SQLite's integers hold without a sign."""


def hash_id(trace_id: bytes) -> int:
    """Hash a trace id for the runs, as an integer of `HASH_BITS` bits.

    Two ids of ten million share one with a probability of 5e-6; whoever looks a trace up compares its id.
    """
    return xxhash.xxh3_64_intdigest(trace_id) >> 1


def advance(log_time_ms: int, timestamp_ms: int) -> int:
    """Return a partition's time after a record, by the fold's rule: never back, never forward by more than a day; the first record sets it.

    Example:
        >>> advance(-1, 5), advance(5, 3), advance(5, 9), advance(5, 10**12)
        (5, 5, 9, 86400005)
    """
    now = max(0, timestamp_ms) if log_time_ms < 0 else min(max(log_time_ms, timestamp_ms), log_time_ms + LOG_TIME_STEP_MS)
    return min(now, LOG_TIME_MAX_MS)


def log_times(log_time_ms: int, timestamps_ms: Sequence[int]) -> Sequence[int]:
    """Return a partition's time after each of its next records.

    Example:
        >>> log_times(5, [3, 9]), log_times(5, [6, 7]), log_times(-1, [5, 3])
        ([5, 9], [6, 7], [5, 5])
    """
    last_ms = timestamps_ms[-1]
    if 0 <= log_time_ms <= timestamps_ms[0] and last_ms <= min(log_time_ms + LOG_TIME_STEP_MS, LOG_TIME_MAX_MS) and timestamps_ms == sorted(timestamps_ms):
        return timestamps_ms  # as a broker stamps them
    return list(accumulate(timestamps_ms, advance, initial=log_time_ms))[1:]
