"""Forgetting, and letting go of what is old or too much."""

from __future__ import annotations

import random
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

from stream.archive.archive import Archive
from stream.archive.blocks import RECORDS, Kind
from stream.archive.intake import forget_value
from stream.archive.mirror import Mirror
from stream.archive.reader import ArchiveReader
from tests.unit.archive_support import START_MS, Log, no_archive_left_open, opened  # noqa: F401 - a fixture

KEEP_ALL_BYTES = 10**12


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.iterdir())


SECRETS = [b64encode(random.Random(number).randbytes(18)) for number in range(5)]
"""Nothing in them repeats, so that compression leaves them as they are: one that is on the disk is seen there."""


async def archived(archive: Archive, log: Log) -> None:
    await archive.append({0: log.records})
    await archive.index()


async def test_forget_leaves_no_byte_of_a_trace(tmp_path: Path) -> None:
    """What the trace, its copy and its raters said is gone from the file and its write-ahead log; the neighbours in its block stay."""
    log, secrets = Log(), [secret.decode() for secret in SECRETS]
    log.trace("t0", result="kept-0")
    log.trace("t1", query=secrets[0], result=secrets[1] * 50)
    log.feedback("t1", 0.5, rater=secrets[2])
    log.trace("t1", result=secrets[3])
    log.add(b"not json: " + SECRETS[4], key=b"t1")
    log.trace("t2", result="kept-2")
    archive = await opened(tmp_path)
    await archived(archive, log)
    assert all(secret in bytes_on_disk(tmp_path) for secret in SECRETS)

    log.forget("t1")
    await archived(archive, log)

    assert not any(secret[at : at + 6] in bytes_on_disk(tmp_path) for secret in SECRETS for at in range(len(secret) - 5))
    assert archive.counts["forgotten"] == 4
    await archive.close()
    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert [trace.entry.trace_id for trace in reader.traces()] == ["t2", "t0"]
        assert reader.trace("t1") is None
        assert reader.ratings("t1") == ()
        assert reader.count(query_class="code") == 2
        assert [entry.offset for entry in reader.records(0)] == list(range(7))
        assert [entry.value for entry in reader.records(0)][1:5] == [forget_value("t1")] * 4


async def test_forget_holds_for_what_comes_later(tmp_path: Path) -> None:
    """A late copy, late feedback, and the whole log replayed into the same archive under new offsets: nothing comes back, over a restart too."""
    log = Log()
    log.trace("t1", result="SECRET")
    log.forget("t1")
    archive = await opened(tmp_path)
    await archived(archive, log)
    await archive.close()
    archive = await opened(tmp_path)

    log.trace("t1", result="SECRET again")
    log.feedback("t1", 1.0, rater="SECRET-rater")
    await archived(archive, log)
    await archive.begin_epoch(0, first_physical=0)
    await archived(archive, log)
    await archive.close()

    assert b"SECRET" not in bytes_on_disk(tmp_path)
    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert {entry.kind for entry in reader.records(0)} == {Kind.FORGET}
        assert reader.count() == 0
        assert reader.counts()["unmatched"] == 0


async def test_forget_in_the_same_batch_as_its_trace(tmp_path: Path) -> None:
    """All of it may be archived before anything is indexed: what comes before the Forget goes, what comes after it never enters."""
    log = Log()
    log.trace("t1", result="SECRET")
    log.forget("t1")
    log.trace("t1", result="SECRET")
    archive = await opened(tmp_path)

    await archived(archive, log)
    await archive.close()

    assert b"SECRET" not in bytes_on_disk(tmp_path)


async def test_forget_takes_the_mirrored_dead_letter_along(tmp_path: Path) -> None:
    """A malformed record of the trace stands on the dead-letter topic too, under its key."""
    log = Log()
    mirror = Mirror("f")
    archive = await opened(tmp_path, mirror=mirror)
    mirror.offer("eddy.traces.dlt", 0, [replace(log.add(b"SECRET", key=b"t1"), offset=0)])
    log.forget("t1")

    await archived(archive, log)
    await archive.close()

    assert b"SECRET" not in bytes_on_disk(tmp_path)


async def test_retention_by_age_removes_the_oldest_blocks_only(tmp_path: Path) -> None:
    """A trace takes its ratings along; what is younger is found as before, and nothing is removed twice."""
    log = Log()
    for number in range(3 * RECORDS):
        log.trace(f"t{number}")
    log.feedback("t1", 0.5)
    log.feedback(f"t{3 * RECORDS - 1}", 0.5)
    archive = await opened(tmp_path)
    await archived(archive, log)

    removed = await archive.remove_oldest(before_ms=START_MS + 1000 * 2 * RECORDS, max_bytes=KEEP_ALL_BYTES)
    again = await archive.remove_oldest(before_ms=START_MS + 1000 * 2 * RECORDS, max_bytes=KEEP_ALL_BYTES)

    assert (removed.records, removed.reason, again.records) == (2 * RECORDS, "age", 0)
    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert [trace.entry.trace_id for trace in reader.traces(newest_first=False)] == [f"t{number}" for number in range(2 * RECORDS, 3 * RECORDS)]
        assert reader.count(query_class="code") == RECORDS
        assert reader.trace("t1") is None
        assert reader.ratings("t1") == ()
        assert len(reader.ratings(f"t{3 * RECORDS - 1}")) == 1
    assert archive.position(0).offset == 3 * RECORDS + 1
    await archive.close()


async def test_retention_keeps_a_rating_whose_trace_stays(tmp_path: Path) -> None:
    """Feedback that came early is removed as a record, and its rater's word stands on; without a trace both go."""
    log = Log()
    log.feedback("t1", 0.5)
    log.feedback("nobody", 0.5)
    for number in range(RECORDS):
        log.trace(f"t{number}")
    archive = await opened(tmp_path)
    await archived(archive, log)

    await archive.remove_oldest(before_ms=START_MS + 1000 * RECORDS, max_bytes=KEEP_ALL_BYTES)

    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        first_left = next(reader.records(0)).offset
        assert first_left == RECORDS
        assert reader.ratings("nobody") == ()
        assert reader.ratings("t1") == ()  # its trace stood in the same block
    await archive.close()


async def test_retention_of_early_feedback_leaves_the_word(tmp_path: Path) -> None:
    log = Log()
    log.feedback("late", 0.5)
    for number in range(RECORDS):
        log.trace(f"t{number}")
    log.trace("late")
    archive = await opened(tmp_path)
    await archived(archive, log)

    await archive.remove_oldest(before_ms=START_MS + 1000 * RECORDS, max_bytes=KEEP_ALL_BYTES)

    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        found = reader.trace("late")
        assert found is not None
        assert found.score() == ("human", 0.5)
    await archive.close()


async def test_retention_by_size_gives_the_space_back(tmp_path: Path) -> None:
    """Used bytes fall to the limit, block by block, and the file shrinks with them."""
    log = Log()
    for number in range(10 * RECORDS):
        log.trace(f"t{number}", result=random.Random(number).randbytes(500).hex())
    archive = await opened(tmp_path)
    await archived(archive, log)
    limit = (await archive.size())[0] // 2
    file_before = (tmp_path / "archive.sqlite3").stat().st_size

    removed = await archive.remove_oldest(before_ms=0, max_bytes=limit)
    await archive.remove_oldest(before_ms=0, max_bytes=limit)
    await archive.tidy(now_ms=START_MS)
    await archive._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    used, records = await archive.size()
    assert removed.reason == "size"
    assert limit * 0.7 < used <= limit
    assert 2 * RECORDS <= records < 6 * RECORDS
    assert (tmp_path / "archive.sqlite3").stat().st_size < 0.7 * max(file_before, 2 * limit)
    await archive.close()


async def test_retention_goes_by_log_time_and_not_by_a_senders_clock(tmp_path: Path) -> None:
    """A record dated 1970 is as old as those before it, and one dated 2100 is a day younger at most."""
    log = Log()
    for number in range(RECORDS):
        log.trace(f"t{number}")
    log.records[10] = replace(log.records[10], timestamp=0)
    log.records[-1] = replace(log.records[-1], timestamp=4_102_444_800_000)
    archive = await opened(tmp_path)
    await archived(archive, log)

    early = await archive.remove_oldest(before_ms=START_MS + 1, max_bytes=KEEP_ALL_BYTES)
    late = await archive.remove_oldest(before_ms=START_MS + 90_000_000, max_bytes=KEEP_ALL_BYTES)

    assert (early.records, late.records) == (0, RECORDS)
    await archive.close()


async def test_retention_keeps_what_a_restore_would_need(tmp_path: Path) -> None:
    """With a mirror and no checkpoint in it, a restart folds the log anew: nothing of it may go."""
    log = Log()
    for number in range(2 * RECORDS):
        log.trace(f"t{number}")
    archive = await opened(tmp_path, mirror=Mirror("f"))
    await archived(archive, log)

    removed = await archive.remove_oldest(before_ms=START_MS * 2, max_bytes=1)

    assert removed.records == 0
    await archive.close()


async def test_tombstones_are_let_go_of_when_nothing_can_come_any_more(tmp_path: Path) -> None:
    """Else they would be the one thing that only grows, in memory and in the file; a younger one holds, over a restart too."""
    log = Log()
    log.forget("old")
    log.forget("young")
    archive = await opened(tmp_path)
    await archived(archive, log)

    await archive.tidy(now_ms=START_MS, forgotten_before_ms=START_MS + 1000)

    for _ in range(2):
        assert archive._intake.forgotten == {"young"}
        await archive.close()
        archive = await opened(tmp_path)
    log.trace("old")
    log.trace("young")
    await archived(archive, log)
    await archive.close()
    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        assert [trace.entry.trace_id for trace in reader.traces()] == ["old"]
