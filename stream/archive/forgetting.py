"""Forgetting a trace: nothing that it or its raters said stays in the file, and nothing of it is archived again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import aiosqlite

from stream.archive import schema
from stream.archive.blocks import COLUMNS, Block, Entry, Kind, pack, unpack
from stream.archive.indexing import read_entries
from stream.archive.intake import forget_value
from stream.archive.positions import hash_id
from stream.archive.runs import remove, seqs_of


async def forget(database: aiosqlite.Connection, trace_id: str, *, log_ms: int) -> int:
    """Remove every record of a trace, inside the caller's transaction.

    1. A Forget takes the place of each of its records, so that numbering keeps no hole.
    2. What the indexes and the mirrored dead letters hold of it goes.
    3. A tombstone keeps what comes later, or is read from the log again, from being archived.

    The caller calls `begin_overwriting` before the transaction and `finish_overwriting` after it.

    Returns:
        The number of records removed.
    """
    name = trace_id.encode()
    entries = [entry for entry in await read_entries(database, await seqs_of(database, hash_id(name))) if entry.name == name and entry.kind is not Kind.FORGET]
    for first_seq, places in (await _by_block(database, entries)).items():
        await _blank(database, first_seq, places, trace_id)  # 1
    await _unlist(database, trace_id, entries)  # 2
    await database.execute("INSERT OR IGNORE INTO forgotten VALUES (?, ?)", (trace_id, log_ms))  # 3
    return len(entries)


async def expire_tombstones(database: aiosqlite.Connection, before_ms: int) -> list[str]:
    """Remove the tombstones of Forgets before a log time, inside the caller's transaction; returns whose they were."""
    async with database.execute("DELETE FROM forgotten WHERE log_ms < ? RETURNING trace_id", (before_ms,)) as cursor:
        return [trace_id async for (trace_id,) in cursor]


async def begin_overwriting(database: aiosqlite.Connection) -> None:
    """Have SQLite overwrite with zeros what it frees from now on."""
    await database.execute("PRAGMA secure_delete=ON")


async def finish_overwriting(database: aiosqlite.Connection) -> bool:
    """Go back to freeing cheaply, and empty the write-ahead log, which still holds what was freed.

    Returns:
        Whether it is empty: a reader at work may keep it, and then this must be called again.
    """
    await database.execute("PRAGMA secure_delete=FAST")
    return await schema.scalar(database, "PRAGMA wal_checkpoint(TRUNCATE)") == 0


async def _by_block(database: aiosqlite.Connection, entries: Iterable[Entry]) -> dict[int, list[int]]:
    places: dict[int, list[int]] = defaultdict(list)
    for entry in entries:
        async with database.execute("SELECT max(first_seq) FROM blocks WHERE first_seq <= ?", (entry.seq,)) as cursor:
            async for (first_seq,) in cursor:
                places[first_seq].append(entry.seq - first_seq)
    return places


async def _blank(database: aiosqlite.Connection, first_seq: int, places: list[int], trace_id: str) -> None:
    async with database.execute(f"SELECT {COLUMNS} FROM blocks WHERE first_seq = ?", (first_seq,)) as cursor:  # noqa: S608 - a constant
        (block,) = [unpack(tuple(row)) async for row in cursor]
    await database.executemany("DELETE FROM postings WHERE field = ? AND name = ? AND block = ?", [posting[:3] for posting in block.postings()])
    for place in places:
        _put_forget(block, place, trace_id)
    await database.execute("UPDATE blocks SET body = ? WHERE first_seq = ?", (pack(block)[-1], first_seq))
    await database.executemany("INSERT INTO postings VALUES (?, ?, ?, ?)", block.postings())


def _put_forget(block: Block, place: int, trace_id: str) -> None:
    body = block.body
    body.kinds[place] = Kind.FORGET
    body.classes[place] = body.agents[place] = ""
    body.keys[place] = trace_id.encode()
    if body.ids is not None:
        body.ids[place] = None
    body.values[place] = forget_value(trace_id)
    body.headers.pop(place, None)


async def _unlist(database: aiosqlite.Connection, trace_id: str, entries: list[Entry]) -> None:
    seqs = [(entry.seq,) for entry in entries]
    await remove(database, hash_id(trace_id.encode()), {entry.seq for entry in entries})
    await database.executemany("DELETE FROM duplicates WHERE seq = ?", seqs)
    await database.execute("DELETE FROM ratings WHERE trace_id = ?", (trace_id,))
    await database.execute("DELETE FROM mirrored WHERE topic LIKE '%.dlt' AND key = ?", (trace_id.encode(),))
