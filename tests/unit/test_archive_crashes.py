"""A crash between any two writes leaves the archive as it was before, or as it is after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stream.archive import runs
from stream.archive.archive import Archive
from stream.archive.reader import ArchiveReader
from tests.unit.archive_support import Log, no_archive_left_open, opened  # noqa: F401 - a fixture


class CrashError(Exception):
    """The process died here."""


class DyingDatabase:
    """A connection that dies at its nth statement, and is dead from then on."""

    def __init__(self, database: Any, statements: int) -> None:
        self._database, self._left = database, statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def execute(self, *arguments: Any) -> Any:
        self._count()
        return self._database.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        self._count()
        return self._database.executemany(*arguments)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise CrashError


def story() -> Log:
    log = Log()
    for number in range(4):
        log.trace(f"t{number}", result=f"secret-{number}")
    log.feedback("t3", 0.5)
    log.trace("t1")
    log.forget("t2")
    log.trace("t2", result="secret-2")
    log.feedback("t3", 1.0, given_at=9.0)
    return log


def seen(path: Path) -> dict[str, Any]:
    """What a reader finds, all of it."""
    with ArchiveReader(path / "archive.sqlite3") as reader:
        return {
            "records": [(entry.offset, entry.value) for entry in reader.records(0)],
            "traces": [(trace.entry.trace_id, trace.score()) for trace in reader.traces(newest_first=False)],
            "by_class": [trace.entry.trace_id for trace in reader.traces(query_class="code", newest_first=False)],
            "counts": reader.counts(),
            "indexed": reader.indexed,
            "forgotten": reader.about("t2"),
        }


async def in_turn(archive: Archive, log: Log) -> None:
    for start in range(0, len(log.records), 4):
        await archive.append({0: log.records[start : start + 4]})
        await archive.index()


async def steps_ahead(archive: Archive, log: Log) -> None:
    """The same steps; the next batch is taken before the last is written, as the learner does."""
    batch = await archive.take({0: log.records[:4]})
    for start in range(4, len(log.records) + 4, 4):
        following = await archive.take({0: log.records[start : start + 4]})
        await archive.write(batch)
        await archive.index()
        batch = following


@pytest.mark.parametrize(("fan", "steps"), [(runs.FAN, in_turn), (2, in_turn), (2, steps_ahead)])
async def test_archive_ends_the_same_wherever_its_writer_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fan: int, steps: Callable[[Archive, Log], Awaitable[None]]) -> None:
    """The writer dies at its 1st, 2nd, … statement; its successor reads the log again from the position it finds. P1, P5.

    With a fan of 2 it merges what it has indexed every time, and dies in the middle of that, too.
    """
    monkeypatch.setattr(runs, "FAN", fan)
    log = story()
    (tmp_path / "oracle").mkdir()
    oracle = await opened(tmp_path / "oracle")
    await in_turn(oracle, log)
    await oracle.close()
    expected = seen(tmp_path / "oracle")
    crashes = 0
    while True:
        path = tmp_path / str(crashes)
        path.mkdir()
        archive = await opened(path)
        archive._database = DyingDatabase(archive._database, crashes)  # type: ignore[assignment]
        try:
            await steps(archive, log)
        except CrashError:
            pass
        else:
            await archive.close()
            break
        await archive.close()

        archive = await opened(path)
        await steps(archive, log)
        await archive.close()

        assert seen(path) == expected, f"died at statement {crashes}"
        crashes += 1
    assert crashes > 30


async def test_archive_indexes_what_its_predecessor_did_not(tmp_path: Path) -> None:
    """A learner that dies after it archived and before it indexed: the records are there, so they are found without the log."""
    log = story()
    archive = await opened(tmp_path)
    await archive.append({0: log.records})
    await archive.close()

    successor = await opened(tmp_path)
    found_first = successor.unindexed
    await successor.index()
    await successor.close()

    assert found_first == len(log.records)
    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert [trace.entry.trace_id for trace in reader.traces(newest_first=False)] == ["t0", "t1", "t3"]
        assert reader.counts()["duplicates"] == 1
        score = reader.trace("t3")
    assert score is not None
    assert score.score() == ("human", 1.0)


async def test_archive_refuses_a_batch_that_was_taken_before_an_error(tmp_path: Path) -> None:
    """It begins after one that is not archived, so that a hole would stay; taken again it is whole."""
    log = story()
    archive = await opened(tmp_path)
    database = archive._database
    first, second = await archive.take({0: log.records[:4]}), await archive.take({0: log.records[4:]})
    archive._database = DyingDatabase(database, 2)  # type: ignore[assignment]
    with pytest.raises(CrashError):
        await archive.write(first)
    await database.execute("ROLLBACK") if database.in_transaction else None
    archive._database = database

    with pytest.raises(ValueError, match="take its records again"):
        await archive.write(second)
    assert await archive.append({0: log.records}) == len(log.records)
    with pytest.raises(ValueError, match="take its records again"):
        await archive.write(first)

    await archive.close()
    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert [entry.offset for entry in reader.records(0)] == list(range(len(log.records)))


async def test_archive_goes_on_after_a_failed_transaction(tmp_path: Path) -> None:
    """A full disk, say: the call raises, nothing of it is there, and the same call works once there is room."""
    log = story()
    archive = await opened(tmp_path)
    database = archive._database
    for fails_at in (1, 2):
        archive._database = DyingDatabase(database, fails_at)  # type: ignore[assignment]
        with pytest.raises(CrashError):
            await archive.append({0: log.records})
        await database.execute("ROLLBACK") if database.in_transaction else None
        archive._database = database

    assert await archive.append({0: log.records}) == len(log.records)
    archive._database = DyingDatabase(database, 5)  # type: ignore[assignment]
    with pytest.raises(CrashError):
        await archive.index()
    await database.execute("ROLLBACK") if database.in_transaction else None
    archive._database = database
    await archive.index()

    assert archive.unindexed == 0
    await archive.close()
    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert reader.count() == 3


KILLED = """
import asyncio, sys, pathlib
from tests.unit.archive_support import Log, opened
async def main():
    archive, log = await opened(pathlib.Path(sys.argv[1])), Log()
    for number in range(6_000):
        log.trace(f"t{number}", result="x" * 500)
    print("ready", flush=True)
    at = archive.position(0).offset + 1
    while at < len(log.records):
        await archive.append({0: log.records[at:at + 97]})
        at += 97
        if at % 5 == 0: await archive.index()
asyncio.run(main())
"""


@pytest.mark.parametrize("after_s", [0.02, 0.11, 0.3])
def test_archive_has_no_hole_after_a_kill(tmp_path: Path, after_s: float) -> None:
    """SIGKILL in the middle of writing: position, records and what is found agree, with whatever was the last transaction."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()

    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        ids = [entry.trace_id for entry in reader.records(0)]
        (offset,) = reader._database.execute("SELECT max(offset) FROM positions").fetchone()
        listed = [trace.entry.trace_id for trace in reader.traces(newest_first=False)]
    assert ids == [f"t{number}" for number in range(len(ids))]
    assert offset == (len(ids) - 1 if ids else None)
    assert listed == ids[: len(listed)]


@pytest.mark.parametrize("yields", range(12))
async def test_archive_can_be_closed_in_order_wherever_it_was_cancelled(tmp_path: Path, yields: int) -> None:
    """A learner that is told to end is cancelled at any of its awaits, and indexes before it goes: no transaction may be left open."""
    log = story()
    archive = await opened(tmp_path)
    task = asyncio.create_task(archive.append({0: log.records}))
    for _ in range(yields):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    await archive.index()
    await archive.close()
    successor = await opened(tmp_path)
    await in_turn(successor, log)

    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert [entry.offset for entry in reader.records(0)] == list(range(len(log.records)))
        assert reader.count() == 3
