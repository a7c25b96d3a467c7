"""The fold: a partition's state and the next records of its log give its next state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from stream.errors import LogGapError, MalformedRecordError
from stream.fold.arrivals import Arrivals
from stream.fold.feedback import FUTURE_MS, apply_decision, apply_feedback, is_ahead
from stream.fold.silence import fall_silent
from stream.fold.state import MINUTE_MS, PartitionState, record_hash
from stream.fold.traces import apply_trace
from stream.reading.chunk import Said, hash_key, read_chunk
from stream.reading.many_keys import partitions_of
from stream.reading.partitioning import partition_of
from stream.reading.record import DecisionReading, FeedbackReading, ForgetReading, TraceReading, read_record
from stream.reading.reward import reward_micro


class LogRecord(Protocol):
    """A record as the broker hands it out; aiokafka's `ConsumerRecord` is one."""

    @property
    def offset(self) -> int:
        """Physical offset."""

    @property
    def timestamp(self) -> int:
        """Epoch milliseconds, by the topic's clock."""

    @property
    def key(self) -> bytes | None:
        """As received."""

    @property
    def value(self) -> bytes | None:
        """As received; None in a tombstone."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that goes to the dead-letter topic.

    Attributes:
        offset: physical.
        reason: one of `stream.reading.record.REASONS`.
        detail: what was wrong.
    """

    offset: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A record to be forwarded, since it stands under another key than its trace id or in another partition than that key's.

    Attributes:
        offset: physical.
        key: the right one.
        partition: the right one.
        reason: `wrong_key` or `wrong_partition`.
    """

    offset: int
    key: bytes
    partition: int
    reason: str


def fold(state: PartitionState, records: Sequence[LogRecord], classify: Callable[[str], str]) -> list[Refused | Misplaced]:
    """Fold the next records of the log into the state; never raises for what a record holds.

    Args:
        state: changed in place.
        records: in order; those that were folded already are skipped.
        classify: gives the class of a query, for traces that name none.

    Returns:
        What must go elsewhere, in order, before a checkpoint that covers it.

    Raises:
        LogGapError: the first record is beyond `state.position`.
    """
    unread = _unread(state, records)
    if not unread:
        return []
    elsewhere: list[Refused | Misplaced] = []
    arrivals, pending = Arrivals(state), state.index.pending
    readings: Sequence[Any] = [None] * len(unread)  # of what a reward must see as a whole, nothing is read in part
    if state.reward is None:
        readings = read_chunk(unread, max_bytes=state.spec.max_record_bytes, classify=classify, apart=state.spec.keeps_tenants_apart)
    for record, reading, partition in zip(unread, readings, partitions_of([record.key or b"" for record in unread], state.spec.partitions), strict=True):
        if record.timestamp > state.log_time_ms or state.log_time_ms < 0:
            if record.timestamp // MINUTE_MS != state.totals.minute:
                arrivals.settle()
            state.advance_time(record.timestamp)
            if pending:
                fall_silent(state)
        if type(reading) is tuple and partition == state.number and arrivals.take(reading):
            continue
        try:
            misplaced = _fold_one(state, record, None if type(reading) is tuple else reading, partition, classify)
        except MalformedRecordError as exc:
            state.counters.refused += 1
            elsewhere.append(Refused(record.offset, exc.reason, exc.detail))
        else:
            if misplaced is not None:
                elsewhere.append(misplaced)
    arrivals.settle()
    _move_to(state, unread[-1], len(unread))
    state.index.compact_if_due()
    return elsewhere


def _unread(state: PartitionState, records: Sequence[LogRecord]) -> Sequence[LogRecord]:
    position = state.position
    if not records or records[-1].offset < position:
        return ()
    if records[0].offset < position:
        records = [record for record in records if record.offset >= position]
    if records[0].offset > position:
        raise LogGapError(
            f"partition {state.number} was folded up to offset {position - 1} and is given {records[0].offset}, but the log must be folded without a gap;"
            " seek to the state's position, or skip_hole() if the log has nothing there"
        )
    return records


def _move_to(state: PartitionState, last: LogRecord, folded: int) -> None:
    end = last.offset + state.base
    state.counters.records += folded
    state.counters.holes += end - state.offset - folded
    state.offset = end
    state.record_hash = record_hash(last.value, last.timestamp)


def _fold_one(state: PartitionState, record: LogRecord, said: Said | None, partition: int, classify: Callable[[str], str]) -> Misplaced | None:
    """Fold one record, whose key belongs to `partition`; what it says of a trace may have been read already.

    1. Read and check all of it; whatever raises, raises here, with the state unchanged.
    2. Apply it, in statements that cannot raise.
    """
    reading = said or read_record(record.value, max_bytes=state.spec.max_record_bytes, classify=classify, apart=state.spec.keeps_tenants_apart)
    key = reading.trace_id.encode()
    if record.key != key or partition != state.number:
        return _misplaced(state, record, key)
    if type(reading) is FeedbackReading and is_ahead(reading, max(record.timestamp, state.log_time_ms)):
        raise _from_the_future(reading, state, record)
    if state.reward is not None and type(reading) is TraceReading:
        reading = msgspec.structs.replace(reading, reward_micro=reward_micro(state.reward, record.value or b""))
    _APPLY[type(reading)](state, reading, hash_key(key))
    return None


def _from_the_future(feedback: FeedbackReading, state: PartitionState, record: LogRecord) -> MalformedRecordError:
    ahead = f"given_at is {feedback.given_at_s}, the record's time {record.timestamp / 1000} and the log's {state.log_time_ms / 1000}"
    return MalformedRecordError("future", f"{ahead}, but it may be at most {FUTURE_MS // 1000} s ahead; set the rater's clock")


def _misplaced(state: PartitionState, record: LogRecord, key: bytes) -> Misplaced:
    state.counters.misplaced += 1
    return Misplaced(record.offset, key, partition_of(key, state.spec.partitions), "wrong_key" if record.key != key else "wrong_partition")


def _apply_forget(state: PartitionState, forget: ForgetReading, key: bytes) -> None:
    state.counters.forgets += 1


_APPLY: dict[type, Callable[[PartitionState, Any, bytes], None]] = {
    TraceReading: apply_trace,
    FeedbackReading: apply_feedback,
    DecisionReading: apply_decision,
    ForgetReading: _apply_forget,
}


def begin_epoch(state: PartitionState, first_physical_offset: int) -> None:
    """Go on in a log that was made anew: its first record is numbered right after the last one folded."""
    state.base = state.offset + 1 - first_physical_offset
    state.epoch += 1
    state.epoch_start = state.offset + 1
    state.record_hash = 0
    state.counters.epochs += 1
