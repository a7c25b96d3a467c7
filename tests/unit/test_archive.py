"""The archive holds what the log says, and finds it again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stream.archive import schema
from stream.archive.archive import Archive
from stream.archive.blocks import RECORDS, Kind
from stream.archive.positions import hash_record
from stream.archive.reader import ArchiveReader
from stream.errors import ArchiveFormatError, NotOwnedError
from stream.reading.partitioning import partition_of
from tests.unit.archive_support import RULES, START_MS, Log, filled, no_archive_left_open, opened  # noqa: F401 - a fixture


def raw(entries) -> list[tuple]:
    return [(entry.offset, entry.timestamp_ms, entry.key, entry.value, entry.headers) for entry in entries]


async def test_archive_keeps_every_record_as_it_was(tmp_path: Path) -> None:
    """Malformed ones too: the archive is a copy of the log, and a restore must give back each byte."""
    log = Log()
    log.trace("t1")
    log.add(b"not json", key=b"t2", headers=(("h", b"1"), ("empty", b"")))
    log.add(None, key=None)
    log.add(b"{}", key=b"\xff\xfe")
    log.say("t3", type="decision", kind="drawn", query_class="code", arm={"model": "m"}, propensity=0.5)
    log.feedback("t1", 0.5)

    with ArchiveReader(await filled(tmp_path, log)) as reader:
        entries = list(reader.records(0))

    assert raw(entries) == [(record.offset, record.timestamp, record.key, record.value, record.headers) for record in log.records]
    assert [entry.kind for entry in entries] == [Kind.TRACE, Kind.MALFORMED, Kind.MALFORMED, Kind.MALFORMED, Kind.DECISION, Kind.FEEDBACK]


async def test_archive_skips_what_it_has(tmp_path: Path) -> None:
    """A chunk that is read again after a crash or a reconnect, whole or in part, adds nothing."""
    log = Log()
    for number in range(5):
        log.trace(f"t{number}")
    archive = await opened(tmp_path)

    counts = [await archive.append({0: log.records[:3]}), await archive.append({0: log.records[:3]}), await archive.append({0: log.records[1:]})]

    assert counts == [3, 0, 2]
    assert archive.position(0).offset == 4
    assert archive.position(0).record_hash == hash_record(log.records[4].value, log.records[4].timestamp)
    await archive.close()


async def test_archive_finds_a_trace_with_every_raters_last_word(tmp_path: Path) -> None:
    """Ann's later word replaces her earlier one although it arrives first; Bob's tie of times goes to the higher score, in any order."""
    log = Log()
    log.feedback("t1", 0.25, given_at=20.0)
    log.trace("t1", feedback=1.0)
    log.feedback("t1", 1.0, given_at=10.0)
    log.feedback("t1", 0.75, rater="bob", kind="judge", given_at=5.0)
    log.feedback("t1", 0.5, rater="bob", kind="judge", given_at=5.0)
    log.feedback("t1", 0.5, rater="bob", kind="judge", given_at=5.0)

    with ArchiveReader(await filled(tmp_path, log)) as reader:
        found = reader.trace("t1")

    assert found is not None
    assert [(rating.rater, rating.kind, rating.score, rating.given_at_s) for rating in found.ratings] == [("ann", "human", 0.25, 20.0), ("bob", "judge", 0.75, 5.0)]
    assert found.score() == ("human", 0.25)
    assert found.entry.offset == 1


async def test_archive_scores_a_trace_as_the_fold_does(tmp_path: Path) -> None:
    """Without feedback an inline rating counts as a program's, and before the outcome; without either, nothing is known."""
    log = Log()
    log.trace("inline", feedback=0.5, outcome="success")
    log.trace("outcome", outcome="failure")
    log.trace("nothing")

    with ArchiveReader(await filled(tmp_path, log)) as reader:
        scores = {trace.entry.trace_id: trace.score() for trace in reader.traces()}

    assert scores == {"inline": ("program", 0.5), "outcome": ("outcome", 0.0), "nothing": None}


async def test_archive_counts_copies_and_lists_none(tmp_path: Path) -> None:
    """The first in the log is the trace, however far apart its copies are: the archive has no horizon."""
    log = Log()
    for number in range(3):
        log.trace(f"t{number}", result="first")
    archive = await opened(tmp_path)
    await archive.append({0: log.records})
    await archive.index()
    log.trace("t1", result="copy", query_class="math")
    log.trace("t3")
    log.trace("t3")
    await archive.append({0: log.records[3:]})
    await archive.index()
    await archive.close()

    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        listed = [trace.entry.trace_id for trace in reader.traces(newest_first=False)]
        counts, classes = reader.counts(), (reader.count(), reader.count(query_class="code"), reader.count(query_class="math"))
        found = reader.trace("t1")

    assert listed == ["t0", "t1", "t2", "t3"]
    assert (counts["trace"], counts["duplicates"], counts["records"]) == (6, 2, 6)
    assert classes == (4, 4, 0)
    assert found is not None
    assert b"first" in (found.entry.value or b"")


async def test_archive_tells_a_forwarded_copy_from_a_duplicate(tmp_path: Path) -> None:
    """A record under a wrong key is sent on by the worker; its copy is no sender's mistake, whichever of the two comes first here."""
    rules = replace(RULES, partitions=4)
    home = partition_of(b"t1", 4)
    log = Log()
    log.trace("t1")
    log.records[0] = replace(log.records[0], key=b"wrong")
    copy = replace(log.records[0], key=b"t1", headers=(("eddy-forwarded", b"0/0"),))
    archive = await opened(tmp_path, rules=rules)

    await archive.append({(home + 1) % 4: log.records})
    await archive.append({home: [copy]})
    await archive.index()

    assert archive.counts["duplicates"] == 0
    assert archive.counts["forwarded"] == 1
    await archive.close()


async def test_archive_counts_feedback_for_unknown_traces(tmp_path: Path) -> None:
    """Two traces that nobody has seen were rated, one of them by two raters: two are unmatched until one of them comes."""
    log = Log()
    log.feedback("a", 1.0)
    log.feedback("a", 1.0, rater="bob")
    log.feedback("b", 1.0)
    archive = await opened(tmp_path)
    await archive.append({0: log.records})
    await archive.index()
    reader = ArchiveReader(tmp_path / "archive.sqlite3")
    before = reader.counts()["unmatched"]
    log.trace("a")

    await archive.append({0: log.records})
    await archive.index()

    assert (before, reader.counts()["unmatched"]) == (2, 1)
    reader.close()
    await archive.close()


async def test_archive_refuses_feedback_from_the_future_as_the_fold_does(tmp_path: Path) -> None:
    """A wrong clock would win over every revision: more than ten minutes ahead of the log's time is malformed, ten minutes are not."""
    log = Log()
    log.trace("t1")
    log.feedback("t1", 0.5, given_at=START_MS / 1000 + 1 + 600)
    log.feedback("t1", 1.0, given_at=START_MS / 1000 + 2 + 600.5)

    with ArchiveReader(await filled(tmp_path, log)) as reader:
        ratings = reader.ratings("t1")
        kinds = [entry.kind for entry in reader.records(0)]

    assert [rating.score for rating in ratings] == [0.5]
    assert kinds[2] is Kind.MALFORMED


async def test_archive_takes_feedback_after_days_of_silence_as_the_fold_does(tmp_path: Path) -> None:
    """The record's own time counts where the log's has fallen behind; also when what was not indexed is read again."""
    log, later_ms = Log(), START_MS + 3 * 86_400_000
    log.trace("t1")
    log.records.append(replace(log.feedback("t1", 0.5, given_at=later_ms / 1000), offset=1, timestamp=later_ms))
    archive = await opened(tmp_path)
    await archive.append({0: [log.records[0], log.records[-1]]})
    await archive.close()

    with ArchiveReader(await filled(tmp_path, Log())) as reader:
        assert [rating.score for rating in reader.ratings("t1")] == [0.5]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_archive_lists_by_class_agent_and_time(tmp_path: Path, newest_first: bool) -> None:
    """Over several blocks, with records of other kinds between: exactly the traces asked for, in order."""
    log = Log()
    expected: dict[tuple[str, str], list[str]] = {}
    for number in range(3 * RECORDS):
        query_class, agent = ("code", "math", "rare")[0 if number % 2 else 1 if number != 100 else 2], "ab"[number % 3 == 0]
        log.trace(f"t{number}", query_class=query_class, agent=agent)
        log.feedback(f"t{number}", 0.5)
        for key in ((query_class, agent), (query_class, ""), ("", agent)):
            expected.setdefault(key, []).append(f"t{number}")

    with ArchiveReader(await filled(tmp_path, log)) as reader:
        listed = {key: [trace.entry.trace_id for trace in reader.traces(query_class=key[0] or None, agent=key[1] or None, newest_first=newest_first)] for key in expected}
        between = [trace.entry.trace_id for trace in reader.traces(since_ms=START_MS + 200_000, until_ms=START_MS + 204_000, newest_first=False)]
        counts = {key: reader.count(query_class=key[0] or None, agent=key[1] or None) for key in expected}

    assert listed == {key: names[::-1] if newest_first else names for key, names in expected.items()}
    assert counts == {key: len(names) for key, names in expected.items()}
    assert between == ["t100", "t101"]


async def test_archive_gives_a_cursor_over_what_is_new(tmp_path: Path) -> None:
    """A cycle reads only what came since the last: after the cursor, up to what is indexed."""
    log = Log()
    log.trace("old")
    archive = await opened(tmp_path)
    await archive.append({0: log.records})
    await archive.index()
    reader = ArchiveReader(tmp_path / "archive.sqlite3")
    cursor = reader.indexed
    log.feedback("old", 1.0)
    log.trace("new")
    await archive.append({0: log.records})
    unindexed = [trace.entry.trace_id for trace in reader.traces(after_seq=cursor)]

    await archive.index()

    assert unindexed == []
    assert [trace.entry.trace_id for trace in reader.traces(after_seq=cursor)] == ["new"]
    assert [(entry.kind, entry.trace_id) for entry in reader.entries(after_seq=cursor)] == [(Kind.FEEDBACK, "old"), (Kind.TRACE, "new")]
    reader.close()
    await archive.close()


async def test_archive_has_one_writer(tmp_path: Path) -> None:
    """A second writer would number its own records: it is refused, and told who writes."""
    archive = await opened(tmp_path)

    with pytest.raises(NotOwnedError, match="one writer"):
        await opened(tmp_path)

    await archive.close()
    await (await opened(tmp_path)).close()


async def test_archive_can_be_read_beside_its_writer_and_not_written(tmp_path: Path) -> None:
    archive = await opened(tmp_path)
    reader = ArchiveReader(tmp_path / "archive.sqlite3")

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._database.execute("DELETE FROM blocks")

    reader.close()
    await archive.close()


async def test_archive_refuses_a_file_that_is_none(tmp_path: Path) -> None:
    """A database of somebody else's is not written into; a file that is no database is not overwritten."""
    other = tmp_path / "other.sqlite3"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()

    garbage = tmp_path / "garbage.sqlite3"
    garbage.write_bytes(b"something that a person wrote" * 1000)

    for path in (other, garbage):
        with pytest.raises(ArchiveFormatError, match="no archive"):
            await Archive.open(path, RULES)
    assert garbage.read_bytes().startswith(b"something")
    with pytest.raises(ArchiveFormatError, match="no archive"):
        ArchiveReader(other)
    with pytest.raises(FileNotFoundError, match="eddy up"):
        ArchiveReader(tmp_path / "none.sqlite3")


async def test_archive_numbers_on_in_a_log_that_was_made_anew(tmp_path: Path) -> None:
    """Offsets start at 0 again; archived they go on right after the last, and the first log's records stay."""
    first, second = Log(), Log()
    for number in range(3):
        first.trace(f"a{number}")
        second.trace(f"b{number}")
    archive = await opened(tmp_path)
    await archive.append({0: first.records})

    await archive.begin_epoch(0, first_physical=0)
    await archive.append({0: second.records})

    position = archive.position(0)
    assert (position.offset, position.base, position.epoch, position.next_physical) == (5, 3, 1, 3)
    await archive.index()
    await archive.close()
    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert [(entry.offset, entry.trace_id) for entry in reader.records(0)] == [(0, "a0"), (1, "a1"), (2, "a2"), (3, "b0"), (4, "b1"), (5, "b2")]


async def test_archive_keeps_offsets_over_holes(tmp_path: Path) -> None:
    """A transaction's marker takes an offset: the record after it keeps its own number."""
    log = Log()
    for number in range(4):
        log.trace(f"t{number}")

    del log.records[2]
    with ArchiveReader(await filled(tmp_path, log)) as reader:
        offsets = [entry.offset for entry in reader.records(0)]

    assert offsets == [0, 1, 3]


async def test_archive_counts_what_the_broker_had_removed(tmp_path: Path) -> None:
    """At its very beginning an archive misses nothing; later, what retention took before it was read is lost."""
    archive = await opened(tmp_path)

    at_first = await archive.skip_lost(0, to_physical=100)
    counted = archive.counts["lost"]
    await archive.append({0: [replace(Log().trace("t"), offset=100)]})
    later = await archive.skip_lost(0, to_physical=111)

    assert (at_first, counted, later, archive.counts["lost"]) == (100, 0, 10, 10)
    assert archive.position(0).next_physical == 111
    await archive.close()


def test_archive_that_is_being_made_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer keeps all others out while it turns on the write-ahead log; a reader in that moment must not call it a strange file."""
    monkeypatch.setattr(schema, "BUSY_MS", 10)
    path = tmp_path / "archive.sqlite3"

    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE made (x)")
        writer.execute("BEGIN EXCLUSIVE")

        with pytest.raises(FileNotFoundError, match="no archive"):
            schema.open_for_reading(path)
