"""The lookups, ratings and postings of what was archived: written in batches, behind the blocks.

A batch is sorted by hash, so that the pages of the lookups it changes are each written once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import aiosqlite

from stream.archive.blocks import COLUMNS, Block, Entry, Kind, unpack
from stream.archive.intake import Intake, Pending
from stream.reading.partitioning import partition_of

FORWARDED_HEADER = "eddy-forwarded"
"""On the copy that a worker makes of a record under a wrong key or in a wrong partition."""

_INSERT_TRACE = "INSERT OR IGNORE INTO lookups VALUES (?, 0, ?)"
_INSERT_OTHER = "INSERT OR IGNORE INTO lookups VALUES (?1, ?2, ?2)"
_RATE = """
INSERT INTO ratings VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace_id, rater) DO UPDATE SET given_at_s = excluded.given_at_s, micro = excluded.micro, kind = excluded.kind, seq = excluded.seq
WHERE (excluded.given_at_s, excluded.micro, excluded.kind) > (ratings.given_at_s, ratings.micro, ratings.kind)
"""
"""The greater word stands, as `stream.fold.ratings.Word` compares them."""
_FIRSTS = "SELECT hash, seq FROM lookups WHERE slot = 0 AND hash IN (SELECT value FROM json_each(?))"


async def index(database: aiosqlite.Connection, pending: Pending, *, partitions: int) -> Counter[str]:
    """Write a batch into the indexes, inside the caller's transaction.

    1. The first record of each trace takes slot 0; a copy finds it taken.
    2. Every other record gets a slot of its own.
    3. A rater's later word replaces the earlier one.
    4. Blocks are listed under the classes and agents that they have.

    Returns:
        What was counted: `duplicates`, `forwarded` (copies that a worker made, which are none).
    """
    copies = await _insert_traces(database, sorted(pending.traces))  # 1
    await database.executemany(_INSERT_OTHER, sorted([*pending.others, *copies]))  # 2
    await database.executemany(_RATE, sorted(pending.ratings))  # 3
    await database.executemany("INSERT OR IGNORE INTO postings VALUES (?, ?, ?, ?)", sorted(pending.postings))  # 4
    return await _count_copies(database, [seq for _, seq in copies], partitions)


async def unindexed(database: aiosqlite.Connection, intake: Intake, *, after_seq: int) -> Pending:
    """Find out again what a learner that died had archived and not indexed."""
    pending = Pending()
    async for block in _blocks(database, "first_seq > ? ORDER BY first_seq", (after_seq,)):
        pending.postings += block.postings()
        for entry in block.entries():
            intake.note(pending, entry, log_ms=block.last_ms)
    return pending


async def first_seqs(database: aiosqlite.Connection, hashes: Sequence[int]) -> dict[int, int]:
    """Find the number of the first record of each trace, by the hash of its id."""
    async with database.execute(_FIRSTS, (json.dumps(list(hashes)),)) as cursor:
        return {hashed: seq async for hashed, seq in cursor}


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


async def _insert_traces(database: aiosqlite.Connection, traces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Insert traces and return those that are copies."""
    before = database.total_changes
    await database.executemany(_INSERT_TRACE, traces)
    if database.total_changes - before == len(traces):
        return []
    firsts = await first_seqs(database, [hashed for hashed, _ in traces])
    return [(hashed, seq) for hashed, seq in traces if firsts[hashed] != seq]


async def _count_copies(database: aiosqlite.Connection, seqs: list[int], partitions: int) -> Counter[str]:
    """List copies, so that they are skipped when traces are listed, and tell those apart that a worker's forwarding explains."""
    entries = [entry for entry in await read_entries(database, seqs) if entry.kind is Kind.TRACE]
    await database.executemany("INSERT OR IGNORE INTO duplicates VALUES (?)", [(entry.seq,) for entry in entries])
    return Counter("forwarded" if _was_forwarded(entry, partitions) else "duplicates" for entry in entries)


def _was_forwarded(entry: Entry, partitions: int) -> bool:
    if any(name == FORWARDED_HEADER for name, _ in entry.headers):
        return True
    return entry.key != entry.name or partition_of(entry.name or b"", partitions) != entry.partition
