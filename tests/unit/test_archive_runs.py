"""The runs find what a plain dictionary finds, however they were merged, and however little of them is archived still."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import aiosqlite
import numpy as np
import pytest

from stream.archive import runs, schema
from stream.archive.bloom import BITS_A_TRACE, LEAST_BITS, BloomFilter
from stream.archive.positions import HASH_BITS, hash_id
from stream.archive.reader import ArchiveReader
from tests.unit.archive_support import Log, no_archive_left_open, opened  # noqa: F401 - a fixture


async def lookups(database: aiosqlite.Connection, hashes: list[int]) -> dict[int, list[int]]:
    return {hashed: found for hashed in hashes if (found := await runs.seqs_of(database, hashed))}


async def count(database: aiosqlite.Connection, query: str) -> int:
    return await schema.scalar(database, query)


@pytest.mark.parametrize("seed", range(3))
async def test_runs_find_what_a_dictionary_finds(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 1 to 100 records in slices of 4, merged through several tiers; a third of the hashes are there before, in this batch or long ago."""
    monkeypatch.setattr(runs, "SLICE_ENTRIES", 4)
    draw = random.Random(seed)
    database = await schema.open_for_writing(tmp_path / "a.sqlite3")
    expected: dict[int, list[int]] = defaultdict(list)
    seq = 0
    for _ in range(60):
        batch = [draw.choice([*expected]) if expected and draw.random() < 0.3 else draw.getrandbits(HASH_BITS) for _ in range(draw.choice([1, 10, 100]))]
        marks = [2 * (seq + place) + (hashed in expected) for place, hashed in enumerate(batch, 1)]
        for hashed, mark in zip(batch, marks, strict=True):
            expected[hashed].append(mark >> 1)
        seq += len(batch)
        await runs.write_run(database, batch, marks, last_seq=seq)
        while sources := await runs.due(database):
            await runs.merge(database, sources, live_from=0)

    asked = draw.sample(list(expected), 300)
    assert await lookups(database, asked) == {hashed: expected[hashed] for hashed in asked}
    firsts = await runs.first_seqs(database, [*expected, 7], live_from=0)
    assert {hashed: firsts[hashed] for hashed in expected} == {hashed: seqs[0] for hashed, seqs in expected.items()}
    assert await runs.seqs_of(database, 7) == []
    assert 1 < await count(database, "SELECT count(*) FROM runs") < 5 * runs.FAN
    assert await count(database, "SELECT max(bits) FROM runs") > 4
    await database.close()


async def test_runs_let_go_of_what_retention_has_removed(tmp_path: Path) -> None:
    """A merge drops it, a run of nothing else goes as a whole, and a first record that is gone makes nobody a copy."""
    database = await schema.open_for_writing(tmp_path / "a.sqlite3")
    for number in range(runs.FAN):
        await runs.write_run(database, [1, 2 + number], [4 * number + (number > 0), 4 * number + 2], last_seq=2 * number + 1)

    await runs.drop_dead(database, live_from=4)
    left = await count(database, "SELECT count(*) FROM slices")
    await runs.write_run(database, [50], [2 * 16], last_seq=16)
    await runs.write_run(database, [51], [2 * 17], last_seq=17)
    for run in range(2):
        await runs.write_run(database, [60 + run, 70 + run], [2 * (18 + 2 * run), 2 * (19 + 2 * run)], last_seq=19 + 2 * run)
    sources = await runs.due(database)
    await runs.merge(database, sources, live_from=6)

    assert left == runs.FAN - 2
    assert await runs.first_seqs(database, [1, 4, 5], live_from=6) == {5: 7}
    assert await runs.seqs_of(database, 1) == [6, 8, 10, 12, 14]
    assert await runs.seqs_of(database, 4) == []
    await database.close()


async def test_runs_are_merged_where_they_are_of_one_size(tmp_path: Path) -> None:
    """A large run is not rewritten for a few small ones that follow it; they wait until they are as many."""
    database = await schema.open_for_writing(tmp_path / "a.sqlite3")
    await runs.write_run(database, list(range(1000)), list(range(0, 2000, 2)), last_seq=999)
    for number in range(runs.FAN - 1):
        await runs.write_run(database, [2000 + number], [2 * (1000 + number)], last_seq=1000 + number)
    too_early = await runs.due(database)
    await runs.write_run(database, [3000], [4000], last_seq=2000)

    assert too_early == []
    assert [run.entries for run in await runs.due(database)] == [1] * runs.FAN
    await database.close()


async def test_filter_knows_every_trace_over_growth_and_restart(tmp_path: Path) -> None:
    """What it does not suspect is archived as new: so it may never miss one. Of new ones it may suspect a few in ten thousand."""
    draw = np.random.default_rng(5)
    database = await schema.open_for_writing(tmp_path / "a.sqlite3")
    hashes = draw.integers(2**HASH_BITS, size=3 * LEAST_BITS // BITS_A_TRACE, dtype=np.int64)
    known, suspected = BloomFilter(), 0
    for start in range(0, len(hashes), 30_000):
        batch = hashes[start : start + 30_000]
        await known.make_room(database, len(batch), live_from=0)
        suspected += len(known.add(batch))
        await runs.write_run(database, batch, 2 * np.arange(start, start + len(batch)), last_seq=start + len(batch) - 1)
    successor = BloomFilter()
    await successor.load(database, live_from=100)

    assert suspected < 3e-4 * len(hashes)
    assert known.add(hashes).tolist() == sorted(hashes.tolist())
    assert set(hashes[100:].tolist()) <= set(successor.add(hashes).tolist())
    assert len(successor.add(draw.integers(2**HASH_BITS, size=100_000, dtype=np.int64))) < 3e-4 * 100_000
    await database.close()


@pytest.mark.parametrize("seed", range(20))
def test_filter_says_what_a_set_says(seed: int) -> None:
    """Hashes that fall on the same bytes, and some that come twice in a batch: what a plain set has, the filter suspects."""
    draw = np.random.default_rng(seed)
    known, plain = BloomFilter(), set()
    for _ in range(20):
        batch = draw.integers(200, size=50, dtype=np.int64) << draw.choice([0, 20, 55])
        twice = {hashed for hashed, times in Counter(batch.tolist()).items() if times > 1}
        suspects = set(known.add(batch).tolist())
        assert suspects >= (plain | twice) & set(batch.tolist())
        plain |= set(batch.tolist())


async def test_archive_finds_everything_over_many_merges(tmp_path: Path) -> None:
    """Indexed by threes: every trace is found with all its records, every copy counted, and a restart in the middle changes nothing."""
    log = Log()
    for number in range(150):
        log.trace(f"t{number % 100}")
    archive = await opened(tmp_path)
    for start in range(0, 150, 3):
        if start == 75:
            await archive.close()
            archive = await opened(tmp_path)
        await archive.append({0: log.records[start : start + 3]})
        await archive.index()
    merged = await count(archive._database, "SELECT count(*) FROM runs")
    await archive.close()

    with ArchiveReader(tmp_path / "archive.sqlite3") as reader:
        found = {f"t{number}": [entry.offset for entry in reader.about(f"t{number}")] for number in range(100)}
        assert (reader.count(), reader.counts()["duplicates"]) == (100, 50)
    assert found == {f"t{number}": [number, number + 100] if number < 50 else [number] for number in range(100)}
    assert merged < 20


async def test_forget_takes_its_records_out_of_the_runs(tmp_path: Path) -> None:
    """Only the Forget itself is found under the id then, and nothing of it in the file's runs."""
    log = Log()
    log.trace("t1")
    log.feedback("t1", 0.5)
    log.trace("t2")
    log.forget("t1")
    archive = await opened(tmp_path)
    for record in log.records:
        await archive.append({0: [record]})
        await archive.index()

    seqs = await runs.seqs_of(archive._database, hash_id(b"t1"))
    neighbour = await runs.seqs_of(archive._database, hash_id(b"t2"))
    await archive.close()

    assert (seqs, neighbour) == ([4], [3])
