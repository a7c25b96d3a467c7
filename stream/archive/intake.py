"""From records of the log to blocks, and to what must be indexed of them. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec
import numpy as np
from xxhash import xxh3_64_digest

from stream.archive.blocks import BYTES, RECORDS, Block, Body, Entry, Headers, Kind
from stream.archive.positions import Position, hash_id, hash_record, log_times
from stream.archive.runs import Integers
from stream.fold.feedback import is_ahead
from stream.fold.fold import LogRecord as FoldRecord
from stream.fold.ratings import KIND_NUMBERS
from stream.reading.names import Listed, Named, NameReader
from stream.reading.record import DecisionReading, FeedbackReading, ForgetReading
from stream.records import Forget

_MALFORMED, _TRACE, _FEEDBACK, _FORGET = (kind.value for kind in (Kind.MALFORMED, Kind.TRACE, Kind.FEEDBACK, Kind.FORGET))
"""As plain numbers, which are compared and written faster."""
_KINDS: dict[type[Named] | type[None], int] = {
    type(None): _MALFORMED,
    Listed: _TRACE,
    FeedbackReading: _FEEDBACK,
    DecisionReading: Kind.DECISION.value,
    ForgetReading: _FORGET,
}
_UNLISTED = Listed("", "")
_REMEMBERED = frozenset({_FEEDBACK, _FORGET})
"""Kinds of which more than their place is remembered until they are indexed."""
_NAMES = {kind.value: kind.name.lower() for kind in Kind}


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
        apart: whether tenants are kept apart.
    """

    partitions: int
    max_bytes: int
    classify: Callable[[str], str]
    apart: bool = False


RatingRow = tuple[str, str, float, int, int, int, int]
"""trace id, rater, given at, micro-score, number of the rater's kind, seq, hash of the trace id."""


@dataclass(slots=True)
class Pending:
    """What is archived and not indexed yet.

    Attributes:
        hashes: of the trace id of every record that has one, in the order of archiving, a chunk after the other.
        marks: of the same records: twice the number of a trace, twice the number and one of any other.
        ratings: of feedback records.
        postings: of every block.
        forgets: trace ids, with the partition's time.
    """

    hashes: list[Integers] = field(default_factory=list)
    marks: list[Integers] = field(default_factory=list)
    ratings: list[RatingRow] = field(default_factory=list)
    postings: list[tuple[int, str, int, int]] = field(default_factory=list)
    forgets: list[tuple[str, int]] = field(default_factory=list)

    def note(self, reading: Named | None, *, hashed: int, seq: int, log_ms: int) -> None:
        """Remember what else than its place a record has to be remembered for."""
        if type(reading) is FeedbackReading:
            self.ratings.append((reading.trace_id, reading.rater, reading.given_at_s, reading.micro, KIND_NUMBERS[reading.rater_kind], seq, hashed))
        elif type(reading) is ForgetReading:
            self.forgets.append((reading.trace_id, log_ms))

    def extend(self, later: Pending) -> None:
        """Add what was archived after it."""
        for name in ("hashes", "marks", "ratings", "postings", "forgets"):
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
        self._reader = NameReader(max_bytes=rules.max_bytes, classify=rules.classify, apart=rules.apart)
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
        columns = _Columns(unread, *self._reader.read_all(unread), position.log_time_ms)
        if self.forgotten or _FORGET in columns.kinds:
            self._forget(columns)
        last = unread[-1]
        position = replace(position, offset=last.offset + position.base, record_hash=hash_record(last.value, last.timestamp), log_time_ms=columns.times_ms[-1])
        taken = Taken(position, columns.blocks(position, first_seq), columns.pending(first_seq))
        taken.pending.postings = [posting for block in taken.blocks for posting in block.postings()]
        taken.counts.update({_NAMES[kind]: count for kind, count in Counter(columns.kinds).items()})
        return taken

    def note(self, pending: Pending, entry: Entry, *, log_ms: int) -> None:
        """Find out again what must be indexed of a record that is archived."""
        if (name := entry.name) is None:
            return
        hashed = hash_id(name)
        pending.hashes.append(np.array([hashed]))
        pending.marks.append(np.array([2 * entry.seq + (entry.kind is not Kind.TRACE)]))
        if entry.kind in (Kind.FEEDBACK, Kind.FORGET):
            pending.note(self._reader.read(entry.value)[1], hashed=hashed, seq=entry.seq, log_ms=log_ms)

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
    """A chunk under way, column by column.

    Attributes:
        times_ms: the partition's time after each record.
        kinds: numbers of `Kind`.
        names: what each record is looked up by.
    """

    def __init__(self, records: Sequence[LogRecord], names: list[bytes | None], readings: list[Named | None], log_time_ms: int) -> None:
        self._records, self.names, self.readings = records, names, readings
        self._stamps_ms = [record.timestamp for record in records]
        self.times_ms = log_times(log_time_ms, self._stamps_ms)
        self.kinds = [_KINDS[type(reading)] for reading in readings]
        self.keys = [record.key for record in records]
        self.values = [record.value for record in records]
        if _FEEDBACK in self.kinds:
            self._refuse_future()

    def _refuse_future(self) -> None:
        for place, kind in enumerate(self.kinds):
            if kind == _FEEDBACK and is_ahead(self.readings[place], max(self._stamps_ms[place], self.times_ms[place])):  # type: ignore[arg-type]
                self.names[place], self.readings[place], self.kinds[place] = self.keys[place], None, _MALFORMED

    def blank(self, place: int, trace_id: str) -> None:
        """Leave of a record only that its trace is forgotten."""
        self.readings[place], self.kinds[place] = ForgetReading(trace_id), _FORGET
        self.names[place] = self.keys[place] = trace_id.encode()
        self.values[place] = forget_value(trace_id)

    def blocks(self, position: Position, first_seq: int) -> list[Block]:
        """Cut the columns into blocks."""
        ids = None if self.names == self.keys else self._ids()
        listed = [reading if type(reading) is Listed else _UNLISTED for reading in self.readings]
        classes, agents = [each.query_class for each in listed], [each.agent for each in listed]
        columns = (self._stamps_ms, self.kinds, ids, classes, agents, self.keys, self.values)
        blocks = []
        for start, end in _cuts(self._records, self.values):
            headers = {place: headers_of(record) for place, record in enumerate(self._records[start:end]) if record.headers}
            body = Body(*[None if column is None else column[start:end] for column in columns], headers)  # type: ignore[call-arg, arg-type]
            offset = self._records[start].offset + position.base
            blocks.append(Block(first_seq + start, position.partition, offset, self.times_ms[start], self.times_ms[end - 1], body))
        return blocks

    def _ids(self) -> list[str | None]:
        return [None if name == key or name is None else name.decode() for name, key in zip(self.names, self.keys, strict=True)]

    def pending(self, first_seq: int) -> Pending:
        """Return what must be indexed."""
        hashes = hash_ids([name or b"" for name in self.names])
        is_trace = np.frombuffer(bytes(self.kinds), dtype=np.uint8) == _TRACE
        marks = np.arange(2 * first_seq, 2 * (first_seq + len(hashes)), 2) + ~is_trace
        pending = Pending()
        for place, kind in enumerate(self.kinds):
            if kind in _REMEMBERED:
                pending.note(self.readings[place], hashed=int(hashes[place]), seq=first_seq + place, log_ms=self.times_ms[place])
        if None in self.names:
            named = np.array([name is not None for name in self.names])
            hashes, marks = hashes[named], marks[named]
        pending.hashes, pending.marks = [hashes], [marks]
        return pending


def hash_ids(trace_ids: Sequence[bytes]) -> Integers:
    """Hash many, each as `hash_id` does: its digest is the number's bytes, the highest first."""
    digests = np.frombuffer(b"".join(map(xxh3_64_digest, trace_ids)), dtype=">u8")
    return (digests >> np.uint64(1)).astype(np.int64)


def _cuts(records: Sequence[LogRecord], values: Sequence[bytes | None]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of blocks: few records, not too many bytes, no hole between."""
    sizes = [len(value) if value else 0 for value in values]
    start = 0
    while start < len(records):
        end = min(start + RECORDS, len(records))
        if records[end - 1].offset - records[start].offset != end - 1 - start or sum(sizes[start:end]) > BYTES:
            end = _early_end(records, sizes, start, end)
        yield start, end
        start = end


def _early_end(records: Sequence[LogRecord], sizes: Sequence[int], start: int, end: int) -> int:
    size = sizes[start]
    for place in range(start + 1, end):
        if size > BYTES or records[place].offset - records[start].offset != place - start:
            return place
        size += sizes[place]
    return end


def forget_value(trace_id: str) -> bytes:
    """Return what stands in the archive in the place of a forgotten record: numbering keeps no hole, and a restore brings nothing back."""
    return msgspec.json.encode(Forget(trace_id=trace_id))


def headers_of(record: LogRecord) -> Headers:
    """Return a record's headers as the archive keeps them."""
    return tuple((name, value) for name, value in record.headers)
