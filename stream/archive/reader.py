"""Reading the archive from any process, beside its writer or without one.

What is listed or looked up is what the writer has indexed: it is behind the log by a second or so. `records` reads the log itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.archive import schema
from stream.archive.blocks import COLUMNS, Block, Entry, Field, Kind, unpack
from stream.archive.positions import hash_id
from stream.archive.slices import ALL, FIND, firsts_in, marks_of
from stream.fold.ratings import KINDS, Word, pack_ratings, rater_hash, scores_of
from stream.fold.totals import MICRO
from stream.reading.record import TraceReading, read_record

SOURCES = ("human", "judge", "program", "outcome")
"""Of scores, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """The last word of one rater; `seq` is the number of the record that said it."""

    rater: str
    kind: str
    micro: int
    given_at_s: float
    seq: int

    @property
    def score(self) -> float:
        """Quality in [0, 1]."""
        return self.micro / MICRO


@dataclass(frozen=True, slots=True)
class ArchivedTrace:
    """A trace, and what its raters said in the end."""

    entry: Entry
    ratings: tuple[Rating, ...]

    def score(self) -> tuple[str, float] | None:
        """Return the source and the score that the fold gives it; None where nothing is known."""
        reading = read_record(self.entry.value, max_bytes=len(self.entry.value or b""), classify=lambda _: "any")
        return next(iter(self.scores(reading).items()), None) if isinstance(reading, TraceReading) else None

    def scores(self, reading: TraceReading) -> dict[str, float]:
        """Return its scores, as given, by every source that it has; the first is the one that the fold counts.

        Args:
            reading: of the trace.
        """
        words = {rater_hash(rating.rater): Word(rating.given_at_s, rating.micro, KINDS.index(rating.kind)) for rating in self.ratings}
        micros = scores_of(pack_ratings(words), reading.inline_micro, reading.outcome)
        return {source: micro / MICRO for source, micro in zip(SOURCES, micros, strict=True) if micro >= 0}


class ArchiveReader:
    """The archive, read-only.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no archive.
        ArchiveFormatError: the file is none of ours, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._database = schema.open_for_reading(Path(path))

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def indexed(self) -> int:
        """Number of the last record that can be found: a cursor for whoever reads what is new."""
        return self._scalar("SELECT value FROM marks WHERE name = 'indexed'")

    @property
    def before_log(self) -> int:
        """Number of blocks of which the log has nothing any more: an embedded broker that was started anew has the end of it only."""
        return self._scalar("SELECT count(*) FROM blocks JOIN positions USING (partition) WHERE blocks.last_offset < positions.base")

    def trace(self, trace_id: str) -> ArchivedTrace | None:
        """Find a trace by its id, with its final ratings."""
        entry = next((entry for entry in self.about(trace_id) if entry.kind is Kind.TRACE), None)
        return None if entry is None else ArchivedTrace(entry, self._ratings([trace_id]).get(trace_id, ()))

    def about(self, trace_id: str, *, until: int | None = None) -> list[Entry]:
        """Find all records of a trace, in log order: copies, feedback and decisions included.

        Args:
            trace_id: whose.
            until: number of the last record that counts; all where it is None.
        """
        found = (self._entry(seq) for seq, _ in self.places(trace_id) if until is None or seq <= until)
        return [entry for entry in found if entry is not None and entry.trace_id == trace_id]

    def places(self, trace_id: str) -> list[tuple[int, bool]]:
        """Return the numbers of a trace's records, and whether it is the trace itself, without reading them; another id may share its hash."""
        hashed = hash_id(trace_id.encode())
        slices = self._database.execute(FIND, (hashed,)).fetchall()
        return [(mark >> 1, not mark & 1) for (pairs,) in slices for mark in marks_of(pairs, hashed)]

    def numbered(self, seqs: Iterable[int]) -> Iterator[ArchivedTrace]:
        """Read traces by their records' numbers, in the order of archiving; what is no trace, or is gone, is left out. Those of one block are read together."""
        block: Block | None = None
        for seq in sorted(seqs):
            if block is None or seq > block.last_seq:
                block = next(self._blocks("first_seq <= ? ORDER BY first_seq DESC LIMIT 1", (seq,)), None)
            if block is not None and seq <= block.last_seq and block.body.kinds[seq - block.first_seq] == Kind.TRACE:
                entry = block.entry(seq - block.first_seq)
                yield ArchivedTrace(entry, self.ratings(entry.trace_id or ""))

    def feedback(self, *, after_seq: int, until: int) -> Iterator[tuple[int, str]]:
        """List the feedback archived after one record and up to another: its number, and whose it is."""
        for block in self._blocks("first_seq >= ? AND last_seq > ? AND first_seq <= ? ORDER BY first_seq", (self._first_after(after_seq), after_seq, until)):
            for place, kind in enumerate(block.body.kinds):
                if kind == Kind.FEEDBACK and after_seq < block.first_seq + place <= until and (trace_id := block.entry(place).trace_id) is not None:
                    yield block.first_seq + place, trace_id

    def ratings(self, trace_id: str) -> tuple[Rating, ...]:
        """Return the last word of every rater of a trace, whether the trace is here or not."""
        return self._ratings([trace_id]).get(trace_id, ())

    def traces(
        self, *, query_class: str | None = None, agent: str | None = None, since_ms: int = 0, until_ms: int | None = None, after_seq: int = 0, newest_first: bool = True
    ) -> Iterator[ArchivedTrace]:
        """List traces, each once, with their final ratings; memory is a block's, whatever is listed.

        Args:
            query_class: only of this class.
            agent: only of this agent.
            since_ms: only of this log time or later.
            until_ms: only before this log time.
            after_seq: only those archived after this record (see `indexed`).
            newest_first: in the order of archiving backwards, else forwards.
        """
        for block in self._listed(query_class, agent, since_ms, until_ms, after_seq, newest_first):
            found = [entry for entry in self._firsts(block, query_class, agent) if entry.seq > after_seq and _is_between(entry, block, since_ms, until_ms)]
            ratings = self._ratings([entry.trace_id for entry in found if entry.trace_id is not None])
            for entry in reversed(found) if newest_first else found:
                yield ArchivedTrace(entry, ratings.get(entry.trace_id or "", ()))

    def entries(self, *, after_seq: int = 0) -> Iterator[Entry]:
        """Read all records archived after one, in the order of archiving, up to what is indexed."""
        for block in self._blocks("first_seq >= ? AND last_seq > ? AND last_seq <= ? ORDER BY first_seq", (self._first_after(after_seq), after_seq, self.indexed)):
            yield from (entry for entry in block.entries() if entry.seq > after_seq)

    def number_at(self, since_ms: int) -> int:
        """Return the number of a record before which there is none of this log time or later; beyond all where there is none at all."""
        first = self._database.execute("SELECT min(first_seq) FROM blocks WHERE last_ms >= ?", (since_ms,)).fetchone()[0]
        return self.indexed + 1 if first is None else int(first)

    def time_at(self, seq: int) -> int:
        """Return a log time, epoch ms, before which no record from this number on was written in its partition's block; 0 where there is none."""
        found = self._database.execute("SELECT first_ms FROM blocks WHERE last_seq >= ? ORDER BY last_seq LIMIT 1", (seq,)).fetchone()
        return 0 if found is None else int(found[0])

    def records(self, partition: int, *, from_offset: int = 0) -> Iterator[Entry]:
        """Read the log of a partition from a logical offset on, all that is archived."""
        for block in self._blocks("partition = ? AND last_offset >= ? ORDER BY last_offset", (partition, from_offset)):
            yield from (entry for entry in block.entries() if entry.offset >= from_offset)

    def count(self, *, query_class: str | None = None, agent: str | None = None) -> int:
        """Count traces, copies left out; of a class and an agent together by reading their blocks."""
        if query_class is not None and agent is not None:
            return sum(1 for _ in self.traces(query_class=query_class, agent=agent))
        if query_class is None and agent is None:
            copies = self._scalar("SELECT count(*) FROM duplicates")
            return self._scalar("SELECT sum(traces) FROM postings WHERE field = ?", (Field.QUERY_CLASS.value,)) - copies
        field, name = (Field.QUERY_CLASS, query_class) if agent is None else (Field.AGENT, agent)
        copies = sum(1 for block in self._with_copies(field, str(name)) for place in self._copies(block) if _name(block.entry(place - block.first_seq), field) == name)
        return self._scalar("SELECT sum(traces) FROM postings WHERE field = ? AND name = ?", (field, name)) - copies

    def classes(self) -> dict[str, int]:
        """Return the classes and how many records of traces each has, copies included."""
        return dict(self._database.execute("SELECT name, sum(traces) FROM postings WHERE field = ? GROUP BY name", (Field.QUERY_CLASS,)))

    def counts(self) -> dict[str, int]:
        """Return what was counted since the archive began, and what is here now: `records`, `unmatched` (traces unknown here that were rated)."""
        counted = dict(self._database.execute("SELECT name, value FROM counts"))
        records = self._scalar("SELECT sum(last_seq - first_seq + 1) FROM blocks")
        return {**counted, "records": records, "unmatched": self._unmatched()}

    def _unmatched(self) -> int:
        rated = {hashed for (hashed,) in self._database.execute("SELECT hash FROM ratings")}
        oldest = self._scalar("SELECT min(first_seq) FROM blocks")
        for (pairs,) in self._database.execute(ALL) if rated else ():
            rated.difference_update(hashed for hashed, seq in firsts_in(pairs) if seq >= oldest)
        return len(rated)

    def _listed(self, query_class: str | None, agent: str | None, since_ms: int, until_ms: int | None, after_seq: int, newest_first: bool) -> Iterator[Block]:
        wanted = [(field, name) for field, name in ((Field.QUERY_CLASS, query_class), (Field.AGENT, agent)) if name is not None]
        where = "".join(" AND EXISTS (SELECT 1 FROM postings WHERE field = ? AND name = ? AND block = first_seq)" for _ in wanted[1:])
        first = " AND field = ? AND name = ?" if wanted else ""
        parameters: list[Any] = [self._first_after(after_seq), after_seq, self.indexed, since_ms, 2**63 - 1 if until_ms is None else until_ms]
        parameters += [value for field, name in wanted for value in (int(field), name)]
        key = "block" if wanted else "first_seq"
        order = f"{key} {'DESC' if newest_first else 'ASC'}"
        tables = "postings CROSS JOIN blocks ON first_seq = block" if wanted else "blocks"  # in this order: whoever stops early has read no more of either
        yield from self._blocks(f"{key} >= ? AND last_seq > ? AND last_seq <= ? AND last_ms >= ? AND first_ms < ?{first}{where} ORDER BY {order}", parameters, tables=tables)

    def _first_after(self, seq: int) -> int:
        """Return the first number of the block that the next record is in: what is older need not even be looked at."""
        return self._scalar("SELECT max(first_seq) FROM blocks WHERE first_seq <= ?", (seq + 1,))

    def _blocks(self, where: str, parameters: Iterable[Any], *, tables: str = "blocks") -> Iterator[Block]:
        for row in self._database.execute(f"SELECT {COLUMNS} FROM {tables} WHERE {where}", tuple(parameters)):  # noqa: S608 - this module's own
            yield unpack(row)

    def _entry(self, seq: int) -> Entry | None:
        block = next(self._blocks("first_seq <= ? ORDER BY first_seq DESC LIMIT 1", (seq,)), None)
        return None if block is None or seq > block.last_seq else block.entry(seq - block.first_seq)

    def _firsts(self, block: Block, query_class: str | None, agent: str | None) -> list[Entry]:
        named = enumerate(zip(block.body.kinds, block.body.classes, block.body.agents, strict=True))
        traces = [place for place, (kind, of_class, of_agent) in named if kind == Kind.TRACE and query_class in (None, of_class) and agent in (None, of_agent)]
        copies = set(self._copies(block)) if traces else set()
        return [block.entry(place) for place in traces if block.first_seq + place not in copies]

    def _copies(self, block: Block) -> list[int]:
        return [seq for (seq,) in self._database.execute("SELECT seq FROM duplicates WHERE seq BETWEEN ? AND ?", (block.first_seq, block.last_seq))]

    def _with_copies(self, field: Field, name: str) -> Iterator[Block]:
        copied = "SELECT (SELECT max(first_seq) FROM blocks WHERE first_seq <= seq) FROM duplicates"
        yield from self._blocks(f"first_seq IN ({copied}) AND first_seq IN (SELECT block FROM postings WHERE field = ? AND name = ?)", (int(field), name))  # noqa: S608 - constants

    def _ratings(self, trace_ids: list[str]) -> dict[str, tuple[Rating, ...]]:
        query = "SELECT trace_id, rater, kind, micro, given_at_s, seq FROM ratings WHERE trace_id IN (SELECT value FROM json_each(?)) ORDER BY rater"
        found: dict[str, tuple[Rating, ...]] = {}
        for trace_id, rater, kind, micro, given_at_s, seq in self._database.execute(query, (json.dumps(trace_ids),)):
            found[trace_id] = (*found.get(trace_id, ()), Rating(rater=rater, kind=KINDS[kind], micro=micro, given_at_s=given_at_s, seq=seq))
        return found

    def _scalar(self, query: str, parameters: tuple[Any, ...] = ()) -> int:
        row = self._database.execute(query, parameters).fetchone()
        return 0 if row is None or row[0] is None else int(row[0])


def _name(entry: Entry, field: Field) -> str:
    return entry.query_class if field is Field.QUERY_CLASS else entry.agent


def _is_between(entry: Entry, block: Block, since_ms: int, until_ms: int | None) -> bool:
    """Whether a record's log time, known as closely as its block's, lies in a range."""
    log_ms = min(max(entry.timestamp_ms, block.first_ms), block.last_ms)
    return log_ms >= since_ms and (until_ms is None or log_ms < until_ms)
