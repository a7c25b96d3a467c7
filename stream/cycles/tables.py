"""The tables of the ledger of learning cycles, and how its file is opened."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import LedgerFormatError

LEDGER_FILE = "cycles.sqlite"
APPLICATION_ID = 0x45646363
"""`Edcc`, in the file's header."""
FORMAT = 1
BUSY_MS = 10_000

TABLES = """
CREATE TABLE cycles (
    number INTEGER PRIMARY KEY, cycle_id TEXT NOT NULL UNIQUE, "trigger" TEXT NOT NULL, agent TEXT NOT NULL, requested_at REAL NOT NULL,
    evidence TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, is_cancelled INTEGER NOT NULL DEFAULT 0, elsewhere TEXT NOT NULL DEFAULT '');
CREATE INDEX cycles_by_state ON cycles (state);
-- What each step has done; `kept` is what later steps need of it, and goes when the cycle ends.
CREATE TABLE steps (
    cycle_id TEXT NOT NULL, state TEXT NOT NULL, at REAL NOT NULL, detail TEXT NOT NULL, kept TEXT, PRIMARY KEY (cycle_id, state)) WITHOUT ROWID;
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY, cycle_id TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, standing TEXT NOT NULL, word TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL, UNIQUE (cycle_id, name));
CREATE INDEX candidates_by_standing ON candidates (standing);
-- Training jobs that cycles wait for; `result` is there once a job has ended.
CREATE TABLE jobs (job_id TEXT PRIMARY KEY, cycle_id TEXT NOT NULL, deadline_at REAL NOT NULL, result TEXT) WITHOUT ROWID;
-- Persons' words that were taken: each counts once, however often it is read.
CREATE TABLE words (cycle_id TEXT, word TEXT, candidate TEXT, given_at REAL, PRIMARY KEY (cycle_id, word, candidate, given_at)) WITHOUT ROWID;
-- What is to be sent, in order; `candidate` counts as announced when it was.
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, value TEXT, candidate INTEGER);
CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


def open_ledger(path: Path) -> sqlite3.Connection:
    """Open the ledger's file; made where there is none, its folder too.

    Raises:
        LedgerFormatError: the file is something else, or of another version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        _prepare(database, path)
    except sqlite3.DatabaseError as exc:
        database.close()
        raise LedgerFormatError(f"{path} cannot be read as a ledger of learning cycles ({exc}), but the learner keeps them there; move it away") from exc
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    _refuse_foreign(database, path)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        database.execute(f"PRAGMA {pragma}")
    with transaction(database):
        if _is_empty(database):
            for statement in TABLES.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            database.execute(f"PRAGMA user_version={FORMAT}")
            database.execute("INSERT INTO marks VALUES ('learner', ?)", (uuid.uuid4().hex[:12],))


def _refuse_foreign(database: sqlite3.Connection, path: Path) -> None:
    found = scalar(database, "PRAGMA application_id"), scalar(database, "PRAGMA user_version")
    if not _is_empty(database) and found != (APPLICATION_ID, FORMAT):
        raise LedgerFormatError(f"{path} has format {found}, but this Eddy keeps its cycles in format {(APPLICATION_ID, FORMAT)}; move it away")


def _is_empty(database: sqlite3.Connection) -> bool:
    return not scalar(database, "SELECT count(*) FROM sqlite_master")


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Do all of it, or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def scalar(database: sqlite3.Connection, query: str) -> int:
    """Run a query that gives one integer."""
    return int(database.execute(query).fetchone()[0])
