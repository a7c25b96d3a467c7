"""The runs, ratings and postings of what was archived: written in batches, behind the blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

import aiosqlite
import numpy as np

from stream.archive.blocks import COLUMNS, Block, Entry, Kind, unpack
from stream.archive.bloom import BloomFilter
from stream.archive.intake import Intake, Pending
from stream.archive.runs import Integers, first_seqs, write_run
from stream.reading.partitioning import partition_of

FORWARDED_HEADER = "eddy-forwarded"
"""On the copy that a worker makes of a record under a wrong key or in a wrong partition."""

_RATE = """
INSERT INTO ratings VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace_id, rater) DO UPDATE SET given_at_s = excluded.given_at_s, micro = excluded.micro, kind = excluded.kind, seq = excluded.seq
WHERE (excluded.given_at_s, excluded.micro, excluded.kind) > (ratings.given_at_s, ratings.micro, ratings.kind)
"""
"""The greater word stands, as `stream.fold.ratings.Word` compares them."""

_NONE = np.empty(0, dtype=np.int64)


async def index(database: aiosqlite.Connection, pending: Pending, *, known: BloomFilter, partitions: int, last_seq: int) -> Counter[str]:
    """Write a batch into the indexes, inside the caller's transaction.

    1. The first record of each trace is marked so; a copy is known by finding another there before it.
    2. The batch is written as a run.
    3. A rater's later word replaces the earlier one.
    4. Blocks are listed under the classes and agents that they have.

    Returns:
        What was counted: `duplicates`, `forwarded` (copies that a worker made, which are none).
    """
    hashes, marks = np.concatenate([_NONE, *pending.hashes]), np.concatenate([_NONE, *pending.marks])
    copies = await _copies(database, hashes, marks, known)  # 1
    await write_run(database, hashes, marks | np.isin(marks, copies), last_seq=last_seq)  # 2
    await database.executemany(_RATE, sorted(pending.ratings))  # 3
    await database.executemany("INSERT OR IGNORE INTO postings VALUES (?, ?, ?, ?)", sorted(pending.postings))  # 4
    return await _count_copies(database, [mark >> 1 for mark in copies], partitions)


async def oldest_seq(database: aiosqlite.Connection) -> int:
    """Return the number of the oldest record that is archived still; 0 where none is."""
    async with database.execute("SELECT first_seq FROM blocks ORDER BY first_seq LIMIT 1") as cursor:
        return sum([int(seq) async for (seq,) in cursor])


async def unindexed(database: aiosqlite.Connection, intake: Intake, *, after_seq: int) -> Pending:
    """Find out again what a learner that died had archived and not indexed."""
    pending = Pending()
    async for block in _blocks(database, "first_seq > ? ORDER BY first_seq", (after_seq,)):
        pending.postings += block.postings()
        for entry in block.entries():
            intake.note(pending, entry, log_ms=block.last_ms)
    return pending


async def read_entries(database: aiosqlite.Connection, seqs: Sequence[int]) -> list[Entry]:
    """Read records by their numbers, each block once; those that are gone are left out."""
    found: list[Entry] = []
    block: Block | None = None
    for seq in sorted(seqs):
        if block is None or seq > block.last_seq:
            block = await _block_of(database, seq)
        if block is not None and seq <= block.last_seq:
            found.append(block.entry(seq - block.first_seq))
    return found


async def _block_of(database: aiosqlite.Connection, seq: int) -> Block | None:
    async for block in _blocks(database, "first_seq <= ? ORDER BY first_seq DESC LIMIT 1", (seq,)):
        return block
    return None


async def _blocks(database: aiosqlite.Connection, where: str, parameters: tuple[int, ...]) -> AsyncIterator[Block]:
    async with database.execute(f"SELECT {COLUMNS} FROM blocks WHERE {where}", parameters) as cursor:  # noqa: S608 - `where` is this module's own
        async for row in cursor:
            yield unpack(tuple(row))


async def _copies(database: aiosqlite.Connection, hashes: Integers, marks: Integers, known: BloomFilter) -> list[int]:
    """Return the marks of the traces that are copies."""
    is_trace = marks & 1 == 0
    traces, oldest = hashes[is_trace], await oldest_seq(database)
    await known.make_room(database, len(traces), live_from=oldest)
    suspects = known.add(traces)
    if not len(suspects):
        return []
    firsts = await first_seqs(database, suspects.tolist(), live_from=oldest)
    suspected = is_trace & np.isin(hashes, suspects)
    pairs = zip(hashes[suspected].tolist(), marks[suspected].tolist(), strict=True)
    return [mark for hashed, mark in pairs if firsts.setdefault(hashed, mark >> 1) != mark >> 1]


async def _count_copies(database: aiosqlite.Connection, seqs: list[int], partitions: int) -> Counter[str]:
    """List copies, so that they are skipped when traces are listed, and tell those apart that a worker's forwarding explains."""
    entries = [entry for entry in await read_entries(database, seqs) if entry.kind is Kind.TRACE]
    await database.executemany("INSERT OR IGNORE INTO duplicates VALUES (?)", [(entry.seq,) for entry in entries])
    return Counter("forwarded" if _was_forwarded(entry, partitions) else "duplicates" for entry in entries)


def _was_forwarded(entry: Entry, partitions: int) -> bool:
    if any(name == FORWARDED_HEADER for name, _ in entry.headers):
        return True
    return entry.key != entry.name or partition_of(entry.name or b"", partitions) != entry.partition
