"""Removing what is too old or too much, oldest first, a bounded number of blocks at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import aiosqlite

from stream.archive import schema
from stream.archive.blocks import COLUMNS, Block, Entry, Kind, unpack
from stream.archive.indexing import oldest_seq
from stream.archive.runs import drop_dead, first_seqs

STEP_BLOCKS = 16
"""Blocks in a step: at most some 2,000 records, which takes some 20 ms."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What a step removed.

    Attributes:
        records: how many.
        reason: `age`, `size`, or empty where nothing was to be removed.
    """

    records: int = 0
    reason: str = ""


async def is_removal_due(database: aiosqlite.Connection, *, before_ms: int, max_bytes: int) -> bool:
    """Tell, cheaply, whether there is anything too old or too much."""
    oldest = await schema.scalar(database, "SELECT last_ms < ? FROM blocks ORDER BY first_seq LIMIT 1", (before_ms,))
    return bool(oldest) or await used_bytes(database) > max_bytes


async def remove_oldest(database: aiosqlite.Connection, *, before_ms: int, max_bytes: int, last_seq: int, keep_from: Mapping[int, int] | None) -> Removed:
    """Remove the oldest blocks, inside the caller's transaction, if they are too old or the file holds too much.

    A trace takes the ratings that it has with it. Feedback goes, and what its rater said stays while the trace does.
    What came later under the id of a trace that was removed is a copy still; a further copy counts as a trace.

    Args:
        database: the archive.
        before_ms: log time before which a block is too old.
        max_bytes: bytes in use above which blocks go, whatever their age.
        last_seq: number of the last record that is indexed; nothing beyond it is removed.
        keep_from: by partition, the first logical offset that must stay; None: none must.
    """
    excess, freed = await used_bytes(database) - max_bytes, 0
    blocks: list[Block] = []
    for block, size in await _oldest(database, last_seq):
        is_enough = block.last_ms >= before_ms and freed >= excess
        if is_enough or _is_needed(block, keep_from):
            break
        blocks.append(block)
        freed += size
    if not blocks:
        return Removed()
    entries = [entry for block in blocks for entry in block.entries()]
    await _remove_ratings_with_traces(database, entries)
    await _remove_blocks(database, blocks)
    oldest = await oldest_seq(database) or last_seq + 1
    await _remove_ratings_of_none(database, entries, live_from=oldest)
    await database.execute("DELETE FROM duplicates WHERE seq < ?", (oldest,))
    await drop_dead(database, live_from=oldest)
    return Removed(len(entries), "size" if excess > 0 else "age")


async def used_bytes(database: aiosqlite.Connection) -> int:
    """Bytes of the file that hold something."""
    return (await schema.scalar(database, "PRAGMA page_count") - await schema.scalar(database, "PRAGMA freelist_count")) * schema.PAGE_BYTES


async def _oldest(database: aiosqlite.Connection, last_seq: int) -> list[tuple[Block, int]]:
    """Read the oldest blocks, and how many bytes of the file each takes."""
    query = f"SELECT {COLUMNS} FROM blocks WHERE last_seq <= ? ORDER BY first_seq LIMIT {STEP_BLOCKS}"  # noqa: S608 - constants
    async with database.execute(query, (last_seq,)) as cursor:
        return [(unpack(tuple(row)), len(row[-1])) async for row in cursor]


def _is_needed(block: Block, keep_from: Mapping[int, int] | None) -> bool:
    return keep_from is not None and block.last_offset >= keep_from.get(block.partition, 0)


async def _remove_ratings_with_traces(database: aiosqlite.Connection, entries: list[Entry]) -> None:
    async with database.execute("SELECT seq FROM duplicates WHERE seq BETWEEN ? AND ?", (entries[0].seq, entries[-1].seq)) as cursor:
        copies = {seq async for (seq,) in cursor}
    firsts = [(entry.trace_id,) for entry in entries if entry.kind is Kind.TRACE and entry.seq not in copies]
    await database.executemany("DELETE FROM ratings WHERE trace_id = ?", firsts)


async def _remove_ratings_of_none(database: aiosqlite.Connection, entries: list[Entry], *, live_from: int) -> None:
    """Remove the words of feedback that goes where no trace stays that they are about."""
    seqs = json.dumps([entry.seq for entry in entries if entry.kind is Kind.FEEDBACK])
    ids = json.dumps([entry.trace_id for entry in entries if entry.kind is Kind.FEEDBACK])
    query = "SELECT trace_id, rater, hash FROM ratings WHERE trace_id IN (SELECT value FROM json_each(?)) AND seq IN (SELECT value FROM json_each(?))"
    async with database.execute(query, (ids, seqs)) as cursor:
        left = [(trace_id, rater, hashed) async for trace_id, rater, hashed in cursor]
    firsts = await first_seqs(database, {hashed for _, _, hashed in left}, live_from=live_from)
    await database.executemany("DELETE FROM ratings WHERE trace_id = ? AND rater = ?", [(trace_id, rater) for trace_id, rater, hashed in left if hashed not in firsts])


async def _remove_blocks(database: aiosqlite.Connection, blocks: list[Block]) -> None:
    await database.executemany("DELETE FROM postings WHERE field = ? AND name = ? AND block = ?", [posting[:3] for block in blocks for posting in block.postings()])
    await database.executemany("DELETE FROM blocks WHERE first_seq = ?", [(block.first_seq,) for block in blocks])
