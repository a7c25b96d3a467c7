"""From records of the log to blocks, and to what must be indexed of them. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from stream.archive.blocks import BYTES, RECORDS, Block, Body, Entry, Headers, Kind
from stream.archive.positions import Position, advance, hash_id, hash_record
from stream.errors import MalformedRecordError
from stream.fold.fold import FUTURE_MS
from stream.fold.fold import LogRecord as FoldRecord
from stream.fold.ratings import KIND_NUMBERS
from stream.reading.record import DecisionReading, FeedbackReading, ForgetReading, Reading, TraceReading, read_record
from stream.records import Forget

_KINDS: dict[type[Reading] | type[None], Kind] = {
    type(None): Kind.MALFORMED,
    TraceReading: Kind.TRACE,
    FeedbackReading: Kind.FEEDBACK,
    DecisionReading: Kind.DECISION,
    ForgetReading: Kind.FORGET,
}


class LogRecord(FoldRecord, Protocol):
    """A record as the broker hands it out; aiokafka's `ConsumerRecord` is one."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """Names and values, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How records are read: the fold's own functions, and what they are given.

    Attributes:
        partitions: how many the log has.
        max_bytes: size above which a record is malformed.
        classify: gives the class of a query, for traces that name none.
    """

    partitions: int
    max_bytes: int
    classify: Callable[[str], str]


RatingRow = tuple[str, str, float, int, int, int, int]
"""trace id, rater, given at, micro-score, number of the rater's kind, seq, hash of the trace id."""


@dataclass(slots=True)
class Pending:
    """What is archived and not indexed yet.

    Attributes:
        traces: (hash, seq) of every trace, copies included.
        others: (hash, seq) of every other record that has a trace id.
        ratings: of feedback records.
        postings: of every block.
        forgets: trace ids, with the partition's time.
    """

    traces: list[tuple[int, int]] = field(default_factory=list)
    others: list[tuple[int, int]] = field(default_factory=list)
    ratings: list[RatingRow] = field(default_factory=list)
    postings: list[tuple[int, str, int, int]] = field(default_factory=list)
    forgets: list[tuple[str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.traces) + len(self.others)

    def note(self, reading: Reading | None, *, hashed: int, seq: int, log_ms: int) -> None:
        """Remember a record that has a trace id."""
        if type(reading) is TraceReading:
            self.traces.append((hashed, seq))
            return
        self.others.append((hashed, seq))
        if type(reading) is FeedbackReading:
            self.ratings.append((reading.trace_id, reading.rater, reading.given_at_s, reading.micro, KIND_NUMBERS[reading.rater_kind], seq, hashed))
        elif type(reading) is ForgetReading:
            self.forgets.append((reading.trace_id, log_ms))

    def extend(self, later: Pending) -> None:
        """Add what was archived after it."""
        for name in ("traces", "others", "ratings", "postings", "forgets"):
            getattr(self, name).extend(getattr(later, name))


@dataclass(slots=True)
class Taken:
    """What came of one chunk of a partition's records."""

    position: Position
    blocks: list[Block] = field(default_factory=list)
    pending: Pending = field(default_factory=Pending)
    counts: Counter[str] = field(default_factory=Counter)


class Intake:
    """Turns chunks into blocks.

    Args:
        rules: how records are read.

    Attributes:
        forgotten: ids of traces of which nothing may be kept, from their Forget on.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.forgotten: set[str] = set()

    def take(self, position: Position, records: Iterable[LogRecord], *, first_seq: int) -> Taken:
        """Number and read the next records of a partition; those that are archived already are skipped.

        Args:
            position: where the partition stands.
            records: in order.
            first_seq: the number of the first of them in the archive.
        """
        chunk = _Chunk(position, first_seq)
        for record in records:
            if record.offset >= chunk.next_physical:
                self._take(chunk, record)
        return chunk.finish()

    def note(self, pending: Pending, entry: Entry, *, log_ms: int) -> None:
        """Find out again what must be indexed of a record that is archived."""
        if (name := entry.name) is not None:
            reading = None if entry.kind is Kind.MALFORMED else self._read(entry.value, log_ms)
            pending.note(reading, hashed=hash_id(name), seq=entry.seq, log_ms=log_ms)

    def _take(self, chunk: _Chunk, record: LogRecord) -> None:
        chunk.log_time_ms = advance(chunk.log_time_ms, record.timestamp)
        reading, value, key = self._read(record.value, chunk.log_time_ms), record.value, record.key
        name = key if reading is None else reading.trace_id.encode()
        if self.forgotten and (forgotten := self._find_forgotten(reading, key)) is not None:
            reading, value, key = ForgetReading(forgotten), forget_value(forgotten), name
        if type(reading) is ForgetReading:
            self.forgotten.add(reading.trace_id)
        chunk.add(record, reading, key, value)
        if name is not None:
            chunk.taken.pending.note(reading, hashed=hash_id(name), seq=chunk.seq, log_ms=chunk.log_time_ms)

    def _find_forgotten(self, reading: Reading | None, key: bytes | None) -> str | None:
        if type(reading) is ForgetReading:
            return None
        trace_id = reading.trace_id if reading is not None else (key or b"").decode(errors="replace")
        return trace_id if trace_id in self.forgotten else None

    def _read(self, value: bytes | None, log_time_ms: int) -> Reading | None:
        try:
            reading = read_record(value, max_bytes=self._rules.max_bytes, classify=self._rules.classify)
        except MalformedRecordError:
            return None
        return None if type(reading) is FeedbackReading and reading.given_at_s * 1000 > log_time_ms + FUTURE_MS else reading


class _Chunk:
    """A chunk under way."""

    def __init__(self, position: Position, first_seq: int) -> None:
        self.taken = Taken(position)
        self.next_physical = position.next_physical
        self.log_time_ms = position.log_time_ms
        self.seq = first_seq - 1
        self._bytes = 0
        self._block: Block | None = None
        self._last: LogRecord | None = None

    def add(self, record: LogRecord, reading: Reading | None, key: bytes | None, value: bytes | None) -> None:
        """Put a record into the block under way, or into a new one."""
        self.seq += 1
        block = self._block
        if block is None or record.offset != self.next_physical or len(block.body.values) == RECORDS or self._bytes > BYTES:
            block = self._begin(record.offset)
        body = block.body
        trace = reading if type(reading) is TraceReading else None
        body.timestamps_ms.append(record.timestamp)
        body.kinds.append(_KINDS[type(reading)])
        body.ids.append(None if reading is None or (key is not None and reading.trace_id.encode() == key) else reading.trace_id)
        body.classes.append("" if trace is None else trace.query_class)
        body.agents.append("" if trace is None else trace.arm.agent)
        body.keys.append(key)
        body.values.append(value)
        if record.headers:
            body.headers[len(body.values) - 1] = headers_of(record)
        block.last_ms = self.log_time_ms
        self._bytes += len(value or b"")
        self.next_physical = record.offset + 1
        self._last = record

    def finish(self) -> Taken:
        """Close the chunk: the position after it, and what is counted of it."""
        if self._last is not None:
            position = self.taken.position
            self.taken.position = replace(
                position, offset=self._last.offset + position.base, record_hash=hash_record(self._last.value, self._last.timestamp), log_time_ms=self.log_time_ms
            )
            for block in self.taken.blocks:
                self.taken.pending.postings += block.postings()
                self.taken.counts.update({Kind(kind).name.lower(): count for kind, count in Counter(block.body.kinds).items()})
        return self.taken

    def _begin(self, offset: int) -> Block:
        position = self.taken.position
        self._bytes = 0
        self._block = Block(self.seq, position.partition, offset + position.base, self.log_time_ms, self.log_time_ms, Body([], [], [], [], [], [], [], {}))
        self.taken.blocks.append(self._block)
        return self._block


def forget_value(trace_id: str) -> bytes:
    """Return what stands in the archive in the place of a forgotten record: numbering keeps no hole, and a restore brings nothing back."""
    return msgspec.json.encode(Forget(trace_id=trace_id))


def headers_of(record: LogRecord) -> Headers:
    """Return a record's headers as the archive keeps them."""
    return tuple((name, value) for name, value in record.headers)
