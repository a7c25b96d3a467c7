"""The fold: a partition's state and the next records of its log give its next state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xxhash import xxh3_128_digest

from stream.errors import LogGapError, MalformedRecordError
from stream.fold.buckets import OVERFLOW_ARM
from stream.fold.index import KEY_BYTES, NO_SCORE, WAITING
from stream.fold.ratings import KIND_NUMBERS, MAX_RATERS, Word, add_score, pack_ratings, rater_hash, score_of, take_score, unpack_ratings
from stream.fold.state import PartitionState, record_hash
from stream.fold.totals import Sum
from stream.reading.arm import FullArm
from stream.reading.outcome import Outcome
from stream.reading.partitioning import partition_of, partitions_of
from stream.reading.record import DecisionReading, FeedbackReading, ForgetReading, TraceReading, read_record
from stream.records import OVERFLOW

FUTURE_MS = 600_000
"""How far ahead of its record's time feedback may be given: clocks differ by less, and beyond it a wrong one would win over all revisions."""

# Plain integers, since a member of an IntEnum is converted at every use as an index.
_COUNT, _COST_KNOWN, _COST_NANO_USD, _LATENCY_KNOWN, _LATENCY_MS, _TOKENS_KNOWN, _TOKENS, _SUCCESSES, _FAILURES = map(int, list(Sum)[:9])
_SUCCESS = int(Outcome.SUCCESS)
_NO_ARMS: dict[FullArm, int] = {}


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
    for record, partition in zip(unread, partitions_of([record.key or b"" for record in unread], state.spec.partitions), strict=True):
        if record.timestamp > state.log_time_ms or state.log_time_ms < 0:
            state.advance_time(record.timestamp)
        try:
            misplaced = _fold_one(state, record, partition, classify)
        except MalformedRecordError as exc:
            state.counters.refused += 1
            elsewhere.append(Refused(record.offset, exc.reason, exc.detail))
        else:
            if misplaced is not None:
                elsewhere.append(misplaced)
    _move_to(state, unread[-1], len(unread))
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


def _fold_one(state: PartitionState, record: LogRecord, partition: int, classify: Callable[[str], str]) -> Misplaced | None:
    """Fold one record, whose key belongs to this partition.

    1. Read and check all of it; whatever raises, raises here, with the state unchanged.
    2. Apply it, in statements that cannot raise.
    """
    reading = read_record(record.value, max_bytes=state.spec.max_record_bytes, classify=classify)
    key = reading.trace_id.encode()
    if record.key != key or partition != state.number:
        return _misplaced(state, record, key)
    if type(reading) is FeedbackReading and is_ahead(reading, max(record.timestamp, state.log_time_ms)):
        raise _from_the_future(reading, state, record)
    _APPLY[type(reading)](state, reading, xxh3_128_digest(key)[:KEY_BYTES])
    return None


def is_ahead(feedback: FeedbackReading, now_ms: int) -> bool:
    """Whether feedback claims a time that has not come.

    Args:
        feedback: as read.
        now_ms: the later of the record's own time and the log's, which stays behind after days without a record.
    """
    return feedback.given_at_s * 1000 > now_ms + FUTURE_MS


def _from_the_future(feedback: FeedbackReading, state: PartitionState, record: LogRecord) -> MalformedRecordError:
    ahead = f"given_at is {feedback.given_at_s}, the record's time {record.timestamp / 1000} and the log's {state.log_time_ms / 1000}"
    return MalformedRecordError("future", f"{ahead}, but it may be at most {FUTURE_MS // 1000} s ahead; set the rater's clock")


def _misplaced(state: PartitionState, record: LogRecord, key: bytes) -> Misplaced:
    state.counters.misplaced += 1
    return Misplaced(record.offset, key, partition_of(key, state.spec.partitions), "wrong_key" if record.key != key else "wrong_partition")


def _apply_trace(state: PartitionState, trace: TraceReading, key: bytes) -> None:
    index = state.index
    slot = index.slots.get(key)
    if slot is None:
        _count(state, trace, key, None, trace.drawn or False)
    elif index.places[slot] != WAITING:
        state.counters.duplicates += 1
    else:
        _match(state, trace, key, slot)


def _match(state: PartitionState, trace: TraceReading, key: bytes, slot: int) -> None:
    """Count a trace for which something waited: its entry moves to the young end."""
    index = state.index
    ratings, decision = index.ratings[slot], index.decisions.get(slot)
    lent = decision is not None and decision.allows(trace.arm)
    index.clear(slot)
    index.mark(slot)
    state.counters.waiting -= 1
    _count(state, trace, key, ratings, lent if trace.drawn is None else trace.drawn)


def _count(state: PartitionState, trace: TraceReading, key: bytes, ratings: bytes | None, drawn: bool) -> None:
    """Add a trace to its bucket and to the index."""
    totals = state.totals
    cell = totals.classes.get(trace.query_class, _NO_ARMS).get(trace.arm)
    place = (totals.cell(*_capped(state, trace.query_class, trace.arm)) if cell is None else cell) * 2 + drawn
    _add_trace(totals.sums((0, totals.minute), place), trace, score_of(ratings, trace.inline_micro, trace.outcome))
    _enter(state, key, place, trace.outcome, trace.inline_micro, ratings)
    state.counters.traces += 1


def _capped(state: PartitionState, query_class: str, arm: FullArm) -> tuple[str, FullArm]:
    """Return the class and arm under which a new arm is counted: its own, or the overflow's where the cap is reached."""
    totals = state.totals
    if not totals.has_room_for_class(query_class):
        state.counters.overflow_classes += 1
        query_class = OVERFLOW
    if not totals.has_room_for_arm(query_class, arm):
        state.counters.overflow_arms += 1
        arm = OVERFLOW_ARM
    return query_class, arm


def _add_trace(sums: list[int], trace: TraceReading, score: tuple[int, int] | None) -> None:
    sums[_COUNT] += 1
    if trace.cost_nano_usd >= 0:
        sums[_COST_KNOWN] += 1
        sums[_COST_NANO_USD] += trace.cost_nano_usd
    if trace.latency_ms >= 0:
        sums[_LATENCY_KNOWN] += 1
        sums[_LATENCY_MS] += trace.latency_ms
    if trace.tokens >= 0:
        sums[_TOKENS_KNOWN] += 1
        sums[_TOKENS] += trace.tokens
    if trace.outcome:
        sums[_SUCCESSES if trace.outcome == _SUCCESS else _FAILURES] += 1
    add_score(sums, score)


def _enter(state: PartitionState, key: bytes, place: int, outcome: int, inline_micro: int, ratings: bytes | None) -> int:
    """Add an entry to the index; the oldest one leaves if there is no room."""
    index = state.index
    if index.next_slot_is_taken:
        _leave(state, index.seq % index.horizon)
    return index.add(key, place, state.totals.minute, outcome, inline_micro, ratings)


def _leave(state: PartitionState, slot: int) -> None:
    index, counters = state.index, state.counters
    if index.places[slot] == WAITING:
        counters.waiting -= 1
        counters.unmatched_feedback += index.ratings[slot] is not None
        counters.unmatched_decisions += slot in index.decisions
    index.clear(slot)


def _waiting_slot(state: PartitionState, key: bytes) -> int:
    """Return the slot of the entry of a trace id; one that waits is made where there is none."""
    slot = state.index.slots.get(key)
    if slot is None:
        state.counters.waiting += 1
        slot = _enter(state, key, WAITING, Outcome.UNKNOWN, NO_SCORE, None)
    return slot


def _apply_feedback(state: PartitionState, feedback: FeedbackReading, key: bytes) -> None:
    state.counters.feedback += 1
    slot = _waiting_slot(state, key)
    words = unpack_ratings(state.index.ratings[slot])
    rater, word = rater_hash(feedback.rater), Word(feedback.given_at_s, feedback.micro, KIND_NUMBERS[feedback.rater_kind])
    last = words.get(rater)
    if last is not None and word <= last:
        state.counters.stale_feedback += 1
    elif last is None and len(words) >= MAX_RATERS:
        state.counters.overflow_raters += 1
    else:
        words[rater] = word
        _rate(state, slot, pack_ratings(words))


def _rate(state: PartitionState, slot: int, ratings: bytes) -> None:
    """Replace the ratings of an entry, and its trace's score in its bucket."""
    index = state.index
    before = score_of(index.ratings[slot], index.inlines[slot], index.outcomes[slot])
    index.ratings[slot] = ratings
    index.mark(slot)
    if index.places[slot] == WAITING:
        return
    span = state.totals.locate(index.minutes[slot])
    if span is None:
        state.counters.late_feedback += 1
        return
    after = score_of(ratings, index.inlines[slot], index.outcomes[slot])
    if after != before:
        sums = state.totals.sums(span, index.places[slot])
        take_score(sums, before)
        add_score(sums, after)


def _apply_decision(state: PartitionState, decision: DecisionReading, key: bytes) -> None:
    """Keep a decision for its trace; the first one in the log counts, and one that comes after its trace changes nothing."""
    state.counters.decisions += 1
    index = state.index
    slot = _waiting_slot(state, key)
    if index.places[slot] == WAITING and slot not in index.decisions:
        index.decisions[slot] = decision.draws
        index.mark(slot)


def _apply_forget(state: PartitionState, forget: ForgetReading, key: bytes) -> None:
    state.counters.forgets += 1


_APPLY: dict[type, Callable[[PartitionState, Any, bytes], None]] = {
    TraceReading: _apply_trace,
    FeedbackReading: _apply_feedback,
    DecisionReading: _apply_decision,
    ForgetReading: _apply_forget,
}


def begin_epoch(state: PartitionState, first_physical_offset: int) -> None:
    """Go on in a log that was made anew: its first record is numbered right after the last one folded."""
    state.base = state.offset + 1 - first_physical_offset
    state.epoch += 1
    state.epoch_start = state.offset + 1
    state.record_hash = 0
    state.counters.epochs += 1
