"""All records of a trace by the hash of its id: sorted runs in slices, merged as they grow many.

A batch is written once, as one run, and not touched again until it is merged with its neighbours: a b-tree of random hashes would
rewrite a page for every few rows. Runs are in the order of archiving: the records of one are all older than those of the next.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from math import log2
from typing import NamedTuple, TypeAlias

import aiosqlite
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.archive.positions import HASH_BITS
from stream.archive.slices import FIND, SLICE_BITS, marks_of

Integers: TypeAlias = NDArray[np.int64]

SLICE_ENTRIES = 2048
"""Most entries of a slice, about: 32 KiB, which a look-up reads of every run."""
FAN = 8
"""Runs of one tier that are merged: an entry is rewritten once a tier; a look-up reads at most so many runs a tier."""

_RUNS = "SELECT run, bits, entries, last_seq FROM runs ORDER BY last_seq"
_INSERT_SLICE = "INSERT INTO slices VALUES (?, ?)"


class Run(NamedTuple):
    """A run: its number, how many bits of a hash tell its slices apart, its entries, and the last record in it."""

    run: int
    bits: int
    entries: int
    last_seq: int

    @property
    def tier(self) -> int:
        """Grows by one as its size grows `FAN`-fold."""
        return int(log2(self.entries) / log2(FAN)) if self.entries else 0

    def key(self, place: int) -> int:
        """Return the key of a slice."""
        return (self.run << SLICE_BITS) + place


def arrays_of(pairs: Sequence[bytes]) -> tuple[Integers, Integers]:
    """Return the hashes and the marks of slices, one after the other."""
    halves = [np.frombuffer(each, dtype=np.int64).reshape(2, -1) for each in pairs]
    hashes, marks = np.concatenate(halves, axis=1) if halves else np.empty((2, 0), dtype=np.int64)
    return hashes, marks


async def write_run(database: aiosqlite.Connection, hashes: ArrayLike, marks: ArrayLike, *, last_seq: int) -> None:
    """Write a batch, in the order of archiving, as a run, inside the caller's transaction."""
    hashes, marks = np.asarray(hashes, dtype=np.int64), np.asarray(marks, dtype=np.int64)
    if not len(hashes):
        return
    run = Run(await _next_run(database), _bits_for(len(hashes)), len(hashes), last_seq)
    await database.executemany(_INSERT_SLICE, _slices(run, hashes, marks, prefix=0, prefix_bits=0))
    await database.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", run)


async def due(database: aiosqlite.Connection) -> list[Run]:
    """Find the neighbours that should be one run: the newest ones, from the lowest tier that has `FAN` of its own on; none: empty."""
    runs = await _runs(database)
    for tier in sorted({run.tier for run in runs}):
        newest: list[Run] = []
        for run in reversed(runs):
            if run.tier > tier:
                break
            newest.insert(0, run)
        if sum(run.tier == tier for run in newest) >= FAN:
            return newest
    return []


async def merge(database: aiosqlite.Connection, sources: Sequence[Run], *, live_from: int) -> None:
    """Make one run of neighbours, inside the caller's transaction, a part of the hashes at a time; what retention has removed is dropped.

    Args:
        database: the archive.
        sources: as `due` gives them.
        live_from: number of the oldest record that is archived still.
    """
    merged = Run(await _next_run(database), _bits_for(sum(source.entries for source in sources)), 0, sources[-1].last_seq)
    bits = min(run.bits for run in (merged, *sources))
    entries = 0
    for prefix in range(1 << bits):
        hashes, marks = await _part(database, sources, prefix, bits, live_from)
        entries += len(hashes)
        await database.executemany(_INSERT_SLICE, _slices(merged, hashes, marks, prefix=prefix, prefix_bits=bits))
    await _drop(database, sources)
    await database.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", merged._replace(entries=entries))


async def drop_dead(database: aiosqlite.Connection, *, live_from: int) -> None:
    """Drop the runs of which no record is archived any more, inside the caller's transaction."""
    await _drop(database, [run for run in await _runs(database) if run.last_seq < live_from])


async def remove(database: aiosqlite.Connection, hashed: int, seqs: Collection[int]) -> None:
    """Remove records of one hash, inside the caller's transaction."""
    async with database.execute(FIND.replace("SELECT pairs", "SELECT slices.id, pairs"), (hashed,)) as cursor:
        found = [(key, pairs) async for key, pairs in cursor]
    for key, pairs in found:
        hashes, marks = arrays_of([pairs])
        stays = (hashes != hashed) | ~np.isin(marks >> 1, list(seqs))
        if not stays.all():
            await database.execute("UPDATE slices SET pairs = ? WHERE id = ?", (hashes[stays].tobytes() + marks[stays].tobytes(), key))


async def seqs_of(database: aiosqlite.Connection, hashed: int) -> list[int]:
    """Find the numbers of all records of a hash, oldest first."""
    async with database.execute(FIND, (hashed,)) as cursor:
        return [mark >> 1 async for (pairs,) in cursor for mark in marks_of(pairs, hashed)]


async def first_seqs(database: aiosqlite.Connection, hashes: Collection[int], *, live_from: int) -> dict[int, int]:
    """Find the number of the first record of each trace, where it is archived still, by the hash of its id; each slice is read once."""
    found: dict[int, int] = {}
    for run in await _runs(database) if hashes else ():
        wanted: dict[int, list[int]] = defaultdict(list)
        for hashed in hashes:
            wanted[run.key(hashed >> (HASH_BITS - run.bits))].append(hashed)
        async with database.execute("SELECT id, pairs FROM slices WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(wanted)),)) as cursor:
            async for key, pairs in cursor:
                found.update((hashed, mark >> 1) for hashed in wanted[key] for mark in marks_of(pairs, hashed) if not mark & 1 and mark >> 1 >= live_from)
    return found


async def _runs(database: aiosqlite.Connection) -> list[Run]:
    async with database.execute(_RUNS) as cursor:
        return [Run(*row) async for row in cursor]


async def _next_run(database: aiosqlite.Connection) -> int:
    async with database.execute("SELECT ifnull(max(run), 0) + 1 FROM runs") as cursor:
        return sum([int(number) async for (number,) in cursor])


async def _drop(database: aiosqlite.Connection, runs: Sequence[Run]) -> None:
    await database.executemany("DELETE FROM slices WHERE id BETWEEN ? AND ?", [(run.key(0), run.key((1 << run.bits) - 1)) for run in runs])
    await database.executemany("DELETE FROM runs WHERE run = ?", [(run.run,) for run in runs])


async def _part(database: aiosqlite.Connection, sources: Sequence[Run], prefix: int, bits: int, live_from: int) -> tuple[Integers, Integers]:
    """Read the entries of all hashes that begin with a prefix, oldest runs first."""
    slices: list[bytes] = []
    for source in sources:
        more = source.bits - bits
        places = source.key(prefix << more), source.key(((prefix + 1) << more) - 1)
        async with database.execute("SELECT pairs FROM slices WHERE id BETWEEN ? AND ? ORDER BY id", places) as cursor:
            slices += [pairs async for (pairs,) in cursor]
    hashes, marks = arrays_of(slices)
    live = marks >> 1 >= live_from
    return (hashes, marks) if live.all() else (hashes[live], marks[live])


def _slices(run: Run, hashes: Integers, marks: Integers, *, prefix: int, prefix_bits: int) -> Iterator[tuple[int, bytes]]:
    """Sort entries, whose hashes all begin with a prefix, and cut them into slices; of equal hashes the older stays in front."""
    order = np.argsort(hashes, kind="stable")
    hashes, marks = hashes[order], marks[order]
    more = run.bits - prefix_bits
    places = range(prefix << more, (prefix + 1) << more)
    ends = np.searchsorted(hashes >> (HASH_BITS - run.bits), np.array(places), side="right")
    start = 0
    for place, end in zip(places, ends.tolist(), strict=True):
        if end > start:
            yield run.key(place), hashes[start:end].tobytes() + marks[start:end].tobytes()
        start = end


def _bits_for(entries: int) -> int:
    return max(0, (entries - 1) // SLICE_ENTRIES).bit_length()
