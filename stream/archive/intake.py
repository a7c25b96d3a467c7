"""From records of the log to blocks, and to what must be indexed of them. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from stream.archive.blocks import BYTES, RECORDS, Block, Body, Entry, Headers, Kind
from stream.archive.positions import Position, advance, hash_id, hash_record
from stream.errors import MalformedRecordError
from stream.fold.feedback import is_ahead
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

    def take(self, position: Position, records: Sequence[LogRecord], *, first_seq: int) -> Taken:
        """Number and read the next records of a partition; those that are archived already are skipped.

        A column at a time, which costs a fraction of a record at a time.

        Args:
            position: where the partition stands.
            records: in order.
            first_seq: the number of the first of them in the archive.
        """
        unread = _unread(position, records)
        if not unread:
            return Taken(position)
        readings, times_ms = self._read_all(unread, position.log_time_ms)
        columns = _Columns(unread, readings, times_ms)
        if self.forgotten or ForgetReading in map(type, readings):
            self._forget(columns)
        last = unread[-1]
        position = replace(position, offset=last.offset + position.base, record_hash=hash_record(last.value, last.timestamp), log_time_ms=times_ms[-1])
        taken = Taken(position, columns.blocks(position, first_seq), columns.pending(first_seq))
        taken.pending.postings = [posting for block in taken.blocks for posting in block.postings()]
        taken.counts.update({Kind(kind).name.lower(): count for kind, count in Counter(columns.kinds).items()})
        return taken

    def note(self, pending: Pending, entry: Entry, *, log_ms: int) -> None:
        """Find out again what must be indexed of a record that is archived."""
        if (name := entry.name) is not None:
            reading = None if entry.kind is Kind.MALFORMED else self._read(entry.value, max(entry.timestamp_ms, log_ms))
            pending.note(reading, hashed=hash_id(name), seq=entry.seq, log_ms=log_ms)

    def _read_all(self, records: Sequence[LogRecord], log_time_ms: int) -> tuple[list[Reading | None], list[int]]:
        readings: list[Reading | None] = []
        times_ms: list[int] = []
        max_bytes, classify = self._rules.max_bytes, self._rules.classify
        for record in records:
            if record.timestamp > log_time_ms or log_time_ms < 0:
                log_time_ms = advance(log_time_ms, record.timestamp)
            times_ms.append(log_time_ms)
            try:
                reading = read_record(record.value, max_bytes=max_bytes, classify=classify)
            except MalformedRecordError:
                readings.append(None)
            else:
                readings.append(None if type(reading) is FeedbackReading and is_ahead(reading, max(record.timestamp, log_time_ms)) else reading)
        return readings, times_ms

    def _read(self, value: bytes | None, now_ms: int) -> Reading | None:
        try:
            reading = read_record(value, max_bytes=self._rules.max_bytes, classify=self._rules.classify)
        except MalformedRecordError:
            return None
        return None if type(reading) is FeedbackReading and is_ahead(reading, now_ms) else reading

    def _forget(self, columns: _Columns) -> None:
        """Put a Forget in the place of every record of a trace that was forgotten before it."""
        for place, (reading, name) in enumerate(zip(columns.readings, columns.names, strict=True)):
            if type(reading) is ForgetReading:
                self.forgotten.add(reading.trace_id)
            elif name is not None and (trace_id := name.decode(errors="replace")) in self.forgotten:
                columns.blank(place, trace_id)


def _unread(position: Position, records: Sequence[LogRecord]) -> Sequence[LogRecord]:
    at = position.next_physical
    return records if not records or records[0].offset >= at else [record for record in records if record.offset >= at]


class _Columns:
    """A chunk under way, column by column."""

    def __init__(self, records: Sequence[LogRecord], readings: list[Reading | None], times_ms: list[int]) -> None:
        self._records, self._times_ms = records, times_ms
        self.readings = readings
        self.kinds = [_KINDS[type(reading)] for reading in readings]
        self.names = [record.key if reading is None else reading.trace_id.encode() for record, reading in zip(records, readings, strict=True)]
        self.keys = [record.key for record in records]
        self.values = [record.value for record in records]

    def blank(self, place: int, trace_id: str) -> None:
        """Leave of a record only that its trace is forgotten."""
        self.readings[place], self.kinds[place] = ForgetReading(trace_id), Kind.FORGET
        self.names[place] = self.keys[place] = trace_id.encode()
        self.values[place] = forget_value(trace_id)

    def blocks(self, position: Position, first_seq: int) -> list[Block]:
        """Cut the columns into blocks."""
        ids = [None if name == key or reading is None else reading.trace_id for reading, name, key in zip(self.readings, self.names, self.keys, strict=True)]
        traces = [reading if type(reading) is TraceReading else None for reading in self.readings]
        classes = ["" if trace is None else trace.query_class for trace in traces]
        agents = ["" if trace is None else trace.arm.agent for trace in traces]
        stamps = [record.timestamp for record in self._records]
        blocks = []
        for start, end in _cuts(self._records):
            headers = {place - start: headers_of(record) for place, record in enumerate(self._records[start:end], start) if record.headers}
            columns = (stamps, self.kinds, ids, classes, agents, self.keys, self.values)
            body = Body(*[column[start:end] for column in columns], headers)  # type: ignore[call-arg, arg-type]
            offset = self._records[start].offset + position.base
            blocks.append(Block(first_seq + start, position.partition, offset, self._times_ms[start], self._times_ms[end - 1], body))
        return blocks

    def pending(self, first_seq: int) -> Pending:
        """Return what must be indexed."""
        pending = Pending()
        for seq, (name, reading, log_ms) in enumerate(zip(self.names, self.readings, self._times_ms, strict=True), first_seq):
            if type(reading) is TraceReading:
                pending.traces.append((hash_id(name), seq))  # type: ignore[arg-type]
            elif name is not None:
                pending.note(reading, hashed=hash_id(name), seq=seq, log_ms=log_ms)
        return pending


def _cuts(records: Sequence[LogRecord]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of blocks: few records, not too many bytes, no hole between."""
    start, size = 0, 0
    for place, record in enumerate(records):
        if place - start == RECORDS or size > BYTES or record.offset - records[start].offset != place - start:
            yield start, place
            start, size = place, 0
        size += len(record.value or b"")
    yield start, len(records)


def forget_value(trace_id: str) -> bytes:
    """Return what stands in the archive in the place of a forgotten record: numbering keeps no hole, and a restore brings nothing back."""
    return msgspec.json.encode(Forget(trace_id=trace_id))


def headers_of(record: LogRecord) -> Headers:
    """Return a record's headers as the archive keeps them."""
    return tuple((name, value) for name, value in record.headers)
