"""The archive's writer in the caller's own thread: a database with aiosqlite's interface that never waits, and `run`, which carries its coroutines out.

For whoever writes now and then and has no event loop, or is inside another one. A learner has a thread for its database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Carry out a coroutine that gives way, but waits for nothing.

    Raises:
        RuntimeError: it waits for something after all.
    """
    while True:
        try:
            waits_for = coroutine.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        if waits_for is not None:
            coroutine.close()
            raise RuntimeError(f"a coroutine waits for {waits_for!r}, but it is carried out in place; run it in an event loop")


class Rows:
    """What a statement gave; awaited, entered or gone through as aiosqlite's cursor is."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def __await__(self) -> Generator[None, None, Rows]:
        yield from ()
        return self

    async def __aenter__(self) -> Rows:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cursor.close()

    async def __aiter__(self) -> AsyncIterator[Any]:
        for row in self._cursor:
            yield row

    async def fetchone(self) -> Any:
        """Give the next row, or None."""
        return self._cursor.fetchone()


class Connection:
    """A connection to a file, used by one thread at a time.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def execute(self, statement: str, parameters: Iterable[Any] = ()) -> Rows:
        """Carry out one statement."""
        return Rows(self._database.execute(statement, tuple(parameters)))

    async def executemany(self, statement: str, rows: Iterable[Any]) -> None:
        """Carry out one statement for many rows."""
        self._database.executemany(statement, rows)

    async def executescript(self, script: str) -> None:
        """Carry out several statements."""
        self._database.executescript(script)

    async def close(self) -> None:
        """Close it."""
        self._database.close()


async def connect(path: Path) -> Any:
    """Open a file; returned as what takes aiosqlite's place."""
    return Connection(path)
