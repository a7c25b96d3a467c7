"""A store of traces in one file, of the archive's format: what cycles mine, what analysers read, what users fill by hand.

A file that a learner fills is a view of its log, and is only read here; one that a store has made is its own.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from stream.archive import schema
from stream.archive.in_place import connect, run
from stream.errors import EddyError, MalformedRecordError, NotOwnedError, TraceRefusedError
from stream.learning.trace import StepType, Trace, TraceStep
from stream.reading.query_class import classify_query
from stream.reading.record import TraceReading, read_record

if TYPE_CHECKING:
    from stream.archive.archive import Archive
    from stream.archive.reader import ArchivedTrace, ArchiveReader

MAX_BYTES = 64 * 2**20
"""Of one trace as JSON."""
OWN_MARK = "store"
"""In a file that a store has made."""
RATER = "update_feedback"
"""Under which `update_feedback` rates."""
_STEP_TYPES = frozenset(StepType)
_WORD = re.compile(r"\w+")
_FULL_TEXT = """
CREATE TABLE found (seq INTEGER PRIMARY KEY, trace_id TEXT NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (query, result, agent, trace_id, content = '', tokenize = 'unicode61');
"""


class DuplicateTraceError(EddyError, sqlite3.IntegrityError):
    """A store was given a trace whose id it has. It stands here, since the errors' module does no input or output, nor names who does."""


class _Listed(msgspec.Struct):
    """What traces are chosen by."""

    model: str = ""
    outcome: str | None = None
    started_at: float = 0.0


_listed = msgspec.json.Decoder(_Listed).decode


class _Record(NamedTuple):
    """A record as the archive takes it in."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class TraceStore:
    """Traces in a file.

    Args:
        db_path: the file, made where it is not there; `":memory:"` is one that goes with the store.

    Raises:
        ArchiveFormatError: the file is none of the archive's format.
        NotOwnedError: another store has the file open for writing.
        MissingExtraError: NumPy is not installed.

    Methods may be called from any thread.
    """

    def __init__(self, db_path: str | Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="eddy-traces-") if str(db_path) == ":memory:" else None
        self._path = Path(self._folder.name) / "traces.sqlite3" if self._folder else Path(db_path).expanduser()
        self._lock = threading.RLock()
        self._words: sqlite3.Connection | None = None
        self._worded = 0
        self._unindexed: set[str] = set()
        """Ids of traces saved since the file was last looked into, which costs several saves."""
        self._archive: Archive | None = self._own() if not self._path.exists() or _is_own(self._path) else None
        self._reader = self._opened()

    def _own(self) -> Archive:
        from stream.archive.archive import Archive
        from stream.archive.intake import Rules

        archive = run(Archive.open(self._path, Rules(partitions=1, max_bytes=MAX_BYTES, classify=classify_query), connect=connect))
        run(archive.mark(OWN_MARK, 1))
        self._path.chmod(0o600)
        return archive

    def _opened(self) -> ArchiveReader:
        from stream.archive.reader import ArchiveReader

        return ArchiveReader(self._path)

    def save(self, trace: Trace) -> None:
        """Save a trace, whole or not at all.

        Raises:
            DuplicateTraceError: one of its id is there already; also an `sqlite3.IntegrityError`.
            TypeError: something in it has no form in JSON.
            TraceRefusedError: it cannot be read back, as one without an id.
            NotOwnedError: the file is a learner's.
        """
        value = msgspec.json.encode(asdict(trace))
        try:
            reading = read_record(value, max_bytes=MAX_BYTES, classify=classify_query)
        except MalformedRecordError as exc:
            raise TraceRefusedError(f"trace {trace.trace_id!r} cannot be saved ({exc}), but a store gives back what it took; mend it") from exc
        if not isinstance(reading, TraceReading):
            raise TraceRefusedError(f"trace {trace.trace_id!r} reads as {type(reading).__name__}, but a store keeps traces; save a Trace")
        with self._lock:
            if trace.trace_id in self._unindexed or self._reader.trace(trace.trace_id) is not None:
                raise DuplicateTraceError(f"trace {trace.trace_id!r} is in {self._path} already, but an id is one trace's; give it another id, or rate it with update_feedback")
            self._append(trace.trace_id, value)
            self._unindexed.add(trace.trace_id)

    def get(self, trace_id: str) -> Trace | None:
        """Find a trace by its id."""
        with self._lock:
            found = self._found(trace_id)
            return None if found is None else _trace(found)

    def list_traces(
        self, *, agent: str | None = None, model: str | None = None, outcome: str | None = None, since: float | None = None, until: float | None = None, limit: int = 100
    ) -> list[Trace]:
        """List traces, the newest first by when they started.

        Args:
            agent: only of this one.
            model: only of this one.
            outcome: only of this one.
            since: only those that started then, in epoch seconds, or later.
            until: only those that started then or earlier.
            limit: at most so many, 0 or more.
        """
        with self._lock:
            chosen = (
                (listed.started_at, trace.entry.seq, trace)
                for trace in self._current().traces(agent=agent)
                if (listed := _listed(trace.entry.value or b"{}"))
                and model in (None, listed.model)
                and outcome in (None, listed.outcome)
                and (since is None or listed.started_at >= since)
                and (until is None or listed.started_at <= until)
            )
            return [_trace(trace) for *_, trace in heapq.nlargest(limit, chosen, key=lambda one: one[:2])]

    def count(self) -> int:
        """Count the traces."""
        with self._lock:
            return self._current().count()

    def search(self, query: str, *, agent: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Find traces whose query, result, agent or id has all words of a text, the best match first.

        Args:
            query: words; whatever else is in it is no syntax.
            agent: only of this one.
            limit: at most so many.

        Returns:
            Dicts of `trace_id`, `query`, `result`, `agent`, `model`, `outcome` and `started_at`.
        """
        words = " ".join(f'"{word}"' for word in _WORD.findall(query))
        with self._lock:
            rows = self._indexed().execute("SELECT found.trace_id FROM words JOIN found ON found.seq = words.rowid WHERE words MATCH ? ORDER BY rank", (words,)) if words else ()
            found = (trace for (trace_id,) in rows if (trace := self.get(trace_id)) is not None and agent in (None, trace.agent))
            return [_row(trace) for _, trace in zip(range(limit), found, strict=False)]

    def update_feedback(self, trace_id: str, score: float) -> bool:
        """Rate a trace; what was said before stays in the file, and the last word counts.

        Args:
            trace_id: its id.
            score: quality in [0, 1].

        Returns:
            Whether there is such a trace.

        Raises:
            TraceRefusedError: the score is outside of [0, 1].
        """
        if not 0.0 <= score <= 1.0:
            raise TraceRefusedError(f"trace {trace_id!r} was rated {score}, but a rating is in [0, 1]; scale it")
        with self._lock:
            found = self._found(trace_id)
            if found is None:
                return False
            last_s = max((rating.given_at_s for rating in found.ratings), default=0.0)
            said = {"type": "feedback", "trace_id": trace_id, "rater": RATER, "rater_kind": "human", "score": score, "given_at": max(_now_s(), last_s + 1e-3)}
            self._append(trace_id, msgspec.json.encode(said))
            return True

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._reader.close()
            if self._archive is not None:
                run(self._archive.close())
            if self._words is not None:
                self._words.close()
            if self._folder is not None:
                self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _append(self, trace_id: str, value: bytes) -> None:
        if self._archive is None:
            raise NotOwnedError(f"{self._path} is a learner's archive, but only its log may change it; publish to the log, or give the store a file of its own")
        record = _Record(self._archive.position(0).next_physical, int(_now_s() * 1000), trace_id.encode(errors="surrogatepass"), value)
        run(self._archive.append({0: [record]}))

    def _current(self) -> ArchiveReader:
        """The reader, over all that was saved."""
        if self._archive is not None and self._archive.unindexed:
            run(self._archive.index())
            self._unindexed.clear()
        return self._reader

    def _found(self, trace_id: str) -> ArchivedTrace | None:
        return self._current().trace(trace_id)

    def _indexed(self) -> sqlite3.Connection:
        """The words of all traces, in memory; what is new since the last search is added."""
        if self._words is None:
            self._words = sqlite3.connect(":memory:", check_same_thread=False)
            self._words.executescript(_FULL_TEXT)
        reader, worded = self._current(), self._worded
        self._worded = reader.indexed
        for trace in map(_with_seq, reader.traces(after_seq=worded, newest_first=False)):
            self._words.execute("INSERT INTO found VALUES (?, ?)", (trace[0], trace[1].trace_id))
            self._words.execute("INSERT INTO words (rowid, query, result, agent, trace_id) VALUES (?, ?, ?, ?, ?)", (trace[0], *_words_of(trace[1])))
        return self._words


def _is_own(path: Path) -> bool:
    if path.stat().st_size == 0:
        return True
    database = schema.open_for_reading(path)
    try:
        return database.execute("SELECT value FROM marks WHERE name = ?", (OWN_MARK,)).fetchone() is not None
    finally:
        database.close()


def _now_s() -> float:
    return time.time()  # noqa: TID251 - when something was said; nothing is learned from it here


def _with_seq(archived: ArchivedTrace) -> tuple[int, Trace]:
    return archived.entry.seq, _trace(archived)


def _words_of(trace: Trace) -> Iterator[str]:
    return (text.encode(errors="replace").decode() for text in (trace.query, trace.result, trace.agent, trace.trace_id))


def _row(trace: Trace) -> dict[str, Any]:
    return {name: getattr(trace, name) for name in ("trace_id", "query", "result", "agent", "model", "outcome", "started_at")}


def _trace(archived: ArchivedTrace) -> Trace:
    """Make a trace of the library's of an archived one: with its best rating, and with steps of unknown type as they are."""
    fields: dict[str, Any] = msgspec.json.decode(archived.entry.value or b"{}")
    steps = [_step(step) for step in fields.pop("steps", None) or () if isinstance(step, dict)]
    trace = Trace(**{name: fields[name] for name in Trace.__dataclass_fields__ if fields.get(name) is not None}, steps=steps)
    rated = [rating for kind in ("human", "judge", "program") for rating in archived.ratings if rating.kind == kind]
    if rated:
        trace.feedback = max((rating for rating in rated if rating.kind == rated[0].kind), key=lambda rating: rating.given_at_s).score
    return trace


def _step(fields: dict[str, Any]) -> TraceStep:
    known: dict[str, Any] = {name: fields[name] for name in TraceStep.__dataclass_fields__ if fields.get(name) is not None}
    kind = known.get("step_type", "")
    return TraceStep(**{"timestamp": 0.0, **known, "step_type": StepType(kind) if kind in _STEP_TYPES else kind})
