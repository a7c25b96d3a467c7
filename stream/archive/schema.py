"""The archive's one SQLite file: its tables, how it is opened, and the lock that makes its writer the only one.

Records stand in blocks: some tens of consecutive records of one partition in one row, appended and never touched again, unless a
trace in it is forgotten. A row a record costs three times as much CPU. What is looked up by trace id, class or agent is indexed in batches,
behind the blocks by a second or so: up to which record is the mark `indexed`, and a reader goes no further.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import IO

import aiosqlite

from stream.archive.positions import Position
from stream.errors import ArchiveFormatError, NotOwnedError

ARCHIVE_FILE = "archive.sqlite3"
"""Name of the archive in a data folder."""
FORMAT = 2
"""Version of the tables; a file of another one is refused."""
APPLICATION_ID = 0x45646479
"""`Eddy`, in the file's header."""
PAGE_BYTES = 16384
"""Measured on blocks of 1.3 kB records: 4.0 us CPU a record, where 8,192 takes 4.8 and 32,768 takes 3.2; but no table is smaller than a page."""
CACHE_BYTES = 64 * 2**20
WAL_BYTES = 64 * 2**20
"""Size at which the write-ahead log is carried over: a page of the ratings that changes with every batch is then written once for many."""
BUSY_MS = 10_000
PARTITIONS_MARK = "partitions"
"""Mark that says how many partitions the log had when the archive was made."""
PUT_POSITION = "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?, ?, ?)"
"""A `Position`, its fields in their order."""

TABLES = """
-- Up to where each partition of eddy.traces is archived. Written in the transaction that archives.
CREATE TABLE positions (
    partition INTEGER PRIMARY KEY, offset INTEGER NOT NULL, base INTEGER NOT NULL, shift INTEGER NOT NULL,
    epoch INTEGER NOT NULL, record_hash INTEGER, log_time_ms INTEGER NOT NULL);
-- The records, in log order; `seq` numbers them in the order of archiving, over all partitions.
CREATE TABLE blocks (
    first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, partition INTEGER NOT NULL,
    first_offset INTEGER NOT NULL, last_offset INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX blocks_by_offset ON blocks (partition, last_offset);
CREATE INDEX blocks_by_time ON blocks (first_ms, last_ms);
-- All records of a trace, by the hash of its id: sorted runs, cut into slices; see stream.archive.runs.
CREATE TABLE runs (run INTEGER PRIMARY KEY, bits INTEGER NOT NULL, entries INTEGER NOT NULL, last_seq INTEGER NOT NULL);
CREATE TABLE slices (id INTEGER PRIMARY KEY, pairs BLOB NOT NULL);
-- Copies of a trace that is archived already.
CREATE TABLE duplicates (seq INTEGER PRIMARY KEY);
-- The last word of every rater on every trace.
CREATE TABLE ratings (
    trace_id TEXT NOT NULL, rater TEXT NOT NULL, given_at_s REAL NOT NULL, micro INTEGER NOT NULL, kind INTEGER NOT NULL,
    seq INTEGER NOT NULL, hash INTEGER NOT NULL, PRIMARY KEY (trace_id, rater)) WITHOUT ROWID;
-- The blocks that have traces of a class or an agent, and how many.
CREATE TABLE postings (
    field INTEGER NOT NULL, name TEXT NOT NULL, block INTEGER NOT NULL, traces INTEGER NOT NULL, PRIMARY KEY (field, name, block)) WITHOUT ROWID;
-- Traces that were forgotten: no record of theirs is archived again.
CREATE TABLE forgotten (trace_id TEXT PRIMARY KEY, log_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
-- Records of other topics, kept for an embedded broker that has lost everything.
CREATE TABLE mirror_positions (topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE mirrored (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL,
    key BLOB, value BLOB, headers BLOB);
CREATE INDEX mirrored_by_key ON mirrored (topic, partition, key);
CREATE INDEX mirrored_by_place ON mirrored (topic, partition, id);
"""


class WriterLock:
    """Held by a file's one writer for as long as it lives; the kernel lets it go when the process ends.

    Args:
        path: the file; the lock is another one beside it.

    Raises:
        NotOwnedError: another process, or another writer of this one, holds it.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.with_name(path.name + ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise NotOwnedError(f"{path} is being written by process {owner}, but it has one writer; stop that learner or open the file read-only") from exc
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let it go."""
        self._file.close()


async def connect_beside(path: Path) -> aiosqlite.Connection:
    """Open a file in a thread of its own."""
    return await aiosqlite.connect(path, isolation_level=None)


async def open_for_writing(path: Path, connect: Callable[[Path], Awaitable[aiosqlite.Connection]] = connect_beside) -> aiosqlite.Connection:
    """Open the archive, or create it. The caller holds its `WriterLock`.

    Args:
        path: of the file.
        connect: opens it.

    Raises:
        ArchiveFormatError: the file is none of ours, or of another version.
    """
    database = await connect(path)
    try:
        for pragma in _pragmas():
            await database.execute(f"PRAGMA {pragma}")
        if await _is_empty(database):
            await database.executescript(f"BEGIN;{TABLES}PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={FORMAT};COMMIT")
        await _check_format(database, path)
    except sqlite3.DatabaseError as exc:
        await database.close()
        raise _strange(path) from exc
    except BaseException:
        await database.close()
        raise
    return database


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the archive beside its writer, or without one; nothing can be written over it.

    Raises:
        FileNotFoundError: there is no archive.
        ArchiveFormatError: the file is none of ours, or of another version.
    """
    if not path.exists():
        raise _none_yet(path)
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            raise _none_yet(path)  # its writer is making it
        _refuse_other_format(path, *(database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")))
    except sqlite3.DatabaseError as exc:
        database.close()
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            raise _none_yet(path) from exc  # its writer is making it, and keeps all others out for a moment
        raise _strange(path) from exc
    except BaseException:
        database.close()
        raise
    return database


def _pragmas() -> tuple[str, ...]:
    return (
        f"page_size={PAGE_BYTES}",
        "auto_vacuum=INCREMENTAL",
        "journal_mode=WAL",
        "synchronous=FULL",  # P5: a position is committed to the broker only after it survives the machine
        "secure_delete=FAST",  # what is forgotten is overwritten under ON, see stream.archive.forgetting
        f"cache_size=-{CACHE_BYTES // 1024}",
        f"wal_autocheckpoint={WAL_BYTES // PAGE_BYTES}",
        f"journal_size_limit={WAL_BYTES}",
        f"busy_timeout={BUSY_MS}",
    )


async def _is_empty(database: aiosqlite.Connection) -> bool:
    return (await scalar(database, "SELECT count(*) FROM sqlite_master")) == 0


async def _check_format(database: aiosqlite.Connection, path: Path) -> None:
    _refuse_other_format(path, await scalar(database, "PRAGMA application_id"), await scalar(database, "PRAGMA user_version"))


def _refuse_other_format(path: Path, application_id: int, version: int) -> None:
    if application_id != APPLICATION_ID:
        raise _strange(path)
    if version != FORMAT:
        raise ArchiveFormatError(f"the archive {path} has format {version}, but this Eddy reads format {FORMAT}; move it away, and a new one is made from the retained log")


def _none_yet(path: Path) -> FileNotFoundError:
    return FileNotFoundError(f"there is no archive at {path}, but this reads one; start `eddy up` or `eddy learner` first")


def _strange(path: Path) -> ArchiveFormatError:
    return ArchiveFormatError(f"{path} is no archive of Eddy's, but its place is where the learner writes one; move it away or set EDDY_DATA_DIR")


async def scalar(database: aiosqlite.Connection, query: str, parameters: tuple[object, ...] = ()) -> int:
    """Run a query that gives one integer; none is 0."""
    async with database.execute(query, parameters) as cursor:
        row = await cursor.fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


async def read_positions(database: aiosqlite.Connection) -> list[Position]:
    """Read where every partition stands."""
    names = tuple(field.name for field in fields(Position))
    async with database.execute(f"SELECT {', '.join(names)} FROM positions ORDER BY partition") as cursor:  # noqa: S608 - our own names
        return [Position(**dict(zip(names, row, strict=True))) async for row in cursor]


async def rollback(database: aiosqlite.Connection) -> None:
    """End a transaction that has failed; SQLite may have ended it already."""
    with suppress(sqlite3.Error):
        await database.execute("ROLLBACK")
