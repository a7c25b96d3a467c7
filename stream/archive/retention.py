"""Removing what is too old or too much, oldest first, a bounded number of blocks at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aiosqlite

from stream.archive import schema
from stream.archive.blocks import COLUMNS, Block, Entry, Kind, unpack
from stream.archive.indexing import first_seqs
from stream.archive.positions import hash_id

STEP_BLOCKS = 32
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
    excess = await used_bytes(database) - max_bytes
    blocks: list[Block] = []
    for block in await _oldest(database, last_seq):
        is_enough = block.last_ms >= before_ms and sum(map(_bytes, blocks)) >= excess
        if is_enough or _is_needed(block, keep_from):
            break
        blocks.append(block)
    if not blocks:
        return Removed()
    entries = [entry for block in blocks for entry in block.entries()]
    await _remove_entries(database, entries)
    await _remove_blocks(database, blocks)
    return Removed(len(entries), "size" if excess > 0 else "age")


async def used_bytes(database: aiosqlite.Connection) -> int:
    """Bytes of the file that hold something."""
    return (await schema.scalar(database, "PRAGMA page_count") - await schema.scalar(database, "PRAGMA freelist_count")) * schema.PAGE_BYTES


def _bytes(block: Block) -> int:
    return sum(len(value or b"") for value in block.body.values)


async def _oldest(database: aiosqlite.Connection, last_seq: int) -> list[Block]:
    query = f"SELECT {COLUMNS} FROM blocks WHERE last_seq <= ? ORDER BY first_seq LIMIT {STEP_BLOCKS}"  # noqa: S608 - constants
    async with database.execute(query, (last_seq,)) as cursor:
        return [unpack(tuple(row)) async for row in cursor]


def _is_needed(block: Block, keep_from: Mapping[int, int] | None) -> bool:
    return keep_from is not None and block.last_offset >= keep_from.get(block.partition, 0)


async def _remove_entries(database: aiosqlite.Connection, entries: list[Entry]) -> None:
    named = [(hash_id(entry.name), entry) for entry in entries if entry.name is not None]
    firsts = await first_seqs(database, [hashed for hashed, entry in named if entry.kind is Kind.TRACE])
    await database.executemany("DELETE FROM lookups WHERE hash = ? AND seq = ?", [(hashed, entry.seq) for hashed, entry in named])
    await database.executemany("DELETE FROM ratings WHERE trace_id = ?", [(entry.trace_id,) for hashed, entry in named if firsts.get(hashed) == entry.seq])
    await database.executemany(
        "DELETE FROM ratings WHERE trace_id = ? AND seq = ? AND NOT EXISTS (SELECT 1 FROM lookups WHERE hash = ? AND slot = 0)",
        [(entry.trace_id, entry.seq, hashed) for hashed, entry in named if entry.kind is Kind.FEEDBACK],
    )
    await database.executemany("DELETE FROM duplicates WHERE seq = ?", [(entry.seq,) for entry in entries])


async def _remove_blocks(database: aiosqlite.Connection, blocks: list[Block]) -> None:
    await database.executemany("DELETE FROM postings WHERE field = ? AND name = ? AND block = ?", [posting[:3] for block in blocks for posting in block.postings()])
    await database.executemany("DELETE FROM blocks WHERE first_seq = ?", [(block.first_seq,) for block in blocks])
