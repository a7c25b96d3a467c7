"""The mirror never runs ahead of the log that it stands on."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.archive.blocks import RECORDS
from stream.archive.mirror import Mirror, coverage_of, unpack_headers
from stream.archive.restore import mirrored_records
from stream.fold.parts import KEY
from stream.records import PartitionStatistics
from stream.topics import CYCLES, DAY_MS, DEAD_LETTERS, OVERRIDES, ROUTING, STATISTICS
from tests.unit.archive_support import START_MS, Log, Record, no_archive_left_open, opened  # noqa: F401 - a fixture

CHANGELOG = "eddy-0a1b2c3d4e5f-checkpoints-changelog"


def checkpoint(offset: int, *, end: int, partition: int = 0, value: bytes | None = b"part") -> Record:
    return Record(offset, START_MS, KEY.pack(partition, end, uuid.uuid4().bytes, 0), value)


def statistics(offset: int, *, end: int) -> Record:
    said = PartitionStatistics(fold="f", partition=0, offset=end, log_time_ms=0, query_class="code", arms=())
    return Record(offset, START_MS, b"f/0/code", msgspec.json.encode(said))


def log_of(count: int) -> Log:
    log = Log()
    for number in range(count):
        log.trace(f"t{number}")
    return log


async def mirrored(archive: Any) -> list[tuple[str, int, int, bytes | None, bytes | None]]:
    async with archive._database.execute("SELECT topic, partition, offset, key, value FROM mirrored ORDER BY id") as cursor:
        return [tuple(row) async for row in cursor]


async def test_mirror_holds_a_checkpoint_until_its_log_is_archived(tmp_path: Path) -> None:
    """Restored without the records it was folded from, it would leave a hole. The one at offset 2 comes in with the third record."""
    mirror = Mirror("f")
    archive = await opened(tmp_path, mirror=mirror)
    log = log_of(4)
    mirror.offer(CHANGELOG, 0, [checkpoint(0, end=1), checkpoint(1, end=2)])

    await archive.append({0: log.records[:2]})
    early = [row[2] for row in await mirrored(archive)]
    await archive.append({0: log.records[2:3]})
    late = [row[2] for row in await mirrored(archive)]

    assert (early, late) == ([0], [0, 1])
    assert mirror.held == 0
    assert mirror.next_offsets == {(CHANGELOG, 0): 2}


async def test_mirror_of_a_topic_is_a_prefix_of_it(tmp_path: Path) -> None:
    """A tombstone behind a checkpoint that waits, waits with it: without what replaces them, the parts it removes are still needed."""
    mirror = Mirror("f")
    archive = await opened(tmp_path, mirror=mirror)
    key = KEY.pack(0, 0, bytes(16), 0)
    mirror.offer(CHANGELOG, 0, [Record(0, START_MS, key, b"old"), checkpoint(1, end=9), Record(2, START_MS, key, None)])

    await archive.append({0: log_of(5).records})
    waiting = [row[4] for row in await mirrored(archive)]
    await archive.append({0: log_of(10).records})

    assert waiting == [b"old"]
    assert [row[4] for row in await mirrored(archive)] == [b"part"]


async def test_mirror_holds_running_totals_too(tmp_path: Path) -> None:
    """A total of records that are gone would win, by its higher offset, over those that are folded under the same numbers after a restart."""
    mirror = Mirror("f")
    archive = await opened(tmp_path, mirror=mirror)
    mirror.offer(STATISTICS.name, 0, [statistics(0, end=4)])

    await archive.append({0: log_of(4).records})
    before = await mirrored(archive)
    await archive.append({0: log_of(5).records})

    assert before == []
    assert len(await mirrored(archive)) == 1


async def test_mirror_writes_without_new_log(tmp_path: Path) -> None:
    """An override that comes while no trace does is mirrored all the same."""
    mirror = Mirror("f")
    archive = await opened(tmp_path, mirror=mirror)
    mirror.offer(OVERRIDES.name, 0, [Record(0, START_MS, b"freeze/*", b"{}")])

    await archive.append({})

    assert [row[3] for row in await mirrored(archive)] == [b"freeze/*"]


async def test_mirror_keeps_the_last_of_a_key_and_all_of_a_log(tmp_path: Path) -> None:
    """As the topics do: compacted ones the last record of each key, none after a tombstone; others every record, headers included."""
    mirror = Mirror("f")
    archive = await opened(tmp_path, mirror=mirror)
    keys = [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None), (b"c", b"1")]
    for topic in (ROUTING.name, CYCLES.name):
        for start in (0, 2):
            mirror.offer(topic, 0, [Record(offset, START_MS, key, value, (("h", b"1"),)) for offset, (key, value) in enumerate(keys)][start : start + (2 if start == 0 else 3)])
            await archive.append({})

    rows = await mirrored(archive)
    async with archive._database.execute("SELECT headers FROM mirrored") as cursor:
        headers = {unpack_headers(packed) async for (packed,) in cursor}

    assert sorted(row[2:] for row in rows if row[0] == ROUTING.name) == [(2, b"a", b"2"), (4, b"c", b"1")]
    assert [row[2:] for row in rows if row[0] == CYCLES.name] == [(offset, key, value) for offset, (key, value) in enumerate(keys)]
    assert headers == {(("h", b"1"),)}


async def test_mirror_reads_on_where_it_is_written(tmp_path: Path) -> None:
    """What was held and not written when the learner died is read again; what is held is not read twice."""
    mirror = Mirror("f")
    archive = await opened(tmp_path, mirror=mirror)
    mirror.offer(CHANGELOG, 0, [checkpoint(0, end=0), checkpoint(1, end=5)])
    await archive.append({0: log_of(1).records})
    reads_on_at = mirror.read_from(CHANGELOG, 0)
    await archive.close()
    successor = Mirror("f")

    await opened(tmp_path, mirror=successor)

    assert (reads_on_at, successor.read_from(CHANGELOG, 0), successor.read_from(ROUTING.name, 0)) == (2, 1, 0)


async def test_mirror_gives_a_log_back_in_its_order_in_every_life(tmp_path: Path) -> None:
    """A restored topic begins at offset 0 again, without what has expired: offsets of two lives say nothing about each other."""
    archive = await opened(tmp_path, mirror=(mirror := Mirror("f")))
    for said in (b"ab", b"cd"):
        values = [bytes([letter]) for letter in said]
        mirror.offer(CYCLES.name, 0, [Record(offset, START_MS, b"cycle", value) for offset, value in enumerate(values, 2)])
        keyed = zip((b"k", b"l", b"k"), [*values, b"!"], strict=True)
        mirror.offer(OVERRIDES.name, 0, [Record(offset, START_MS, key, value) for offset, (key, value) in enumerate(keyed, 2)])
        await archive.append({})

    restored = [(record.topic, record.value) async for record in mirrored_records(archive._database, "f")]

    assert [value for topic, value in restored if topic == CYCLES.name] == [b"a", b"b", b"c", b"d"]
    assert [value for topic, value in restored if topic == OVERRIDES.name] == [b"d", b"!"], "as the topic had them: what was written last comes last"


async def test_mirror_expires_what_its_topic_would(tmp_path: Path) -> None:
    """Dead letters stand for 30 days; what is compacted stands for ever."""
    mirror = Mirror("f")
    archive = await opened(tmp_path, mirror=mirror)
    for topic in (DEAD_LETTERS.name, OVERRIDES.name):
        mirror.offer(topic, 0, [Record(0, START_MS, b"old", b"1"), Record(1, START_MS + 20 * DAY_MS, b"young", b"1")])
    await archive.append({})

    await archive.tidy(now_ms=START_MS + 31 * DAY_MS)

    assert [row[3] for row in await mirrored(archive) if row[0] == DEAD_LETTERS.name] == [b"young"]
    assert len([row for row in await mirrored(archive) if row[0] == OVERRIDES.name]) == 2


def test_mirror_takes_what_it_cannot_read_as_it_is() -> None:
    """Somebody else wrote it: it holds nothing back."""
    assert coverage_of(CHANGELOG, Record(0, 0, b"short", b"")) is None
    assert coverage_of(STATISTICS.name, Record(0, 0, b"k", b"not json")) is None
    assert coverage_of(CHANGELOG, checkpoint(0, end=7, partition=3)) == (3, 7)


async def test_mirror_reads_a_changelog_no_oftener_than_retention_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changelog is tens of megabytes, and retention takes a step with every chunk: what was found holds until a step finds nothing to remove."""
    asked: list[int] = []

    async def fold_end(database: Any, fold: str, partition: int) -> int:
        asked.append(partition)
        return RECORDS * len(asked) - 1

    monkeypatch.setattr("stream.archive.mirror.fold_end", fold_end)
    archive = await opened(tmp_path, mirror=Mirror("f"))
    await archive.append({0: log_of(3 * RECORDS).records})
    await archive.index()

    removed = [(await archive.remove_oldest(before_ms=START_MS * 2, max_bytes=10**12)).records for _ in range(4)]

    assert removed == [RECORDS, 0, RECORDS, 0]
    assert len(asked) == 2
