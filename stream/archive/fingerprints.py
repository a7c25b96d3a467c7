"""Which traces may be archived already, in memory: a table of fingerprints, so that a new trace costs no look-up in the file.

It takes 8 to 16 bytes a trace. It is rebuilt from the file when the archive is opened and when it is full, and it may be wrong in one way only:
it may know a trace that has been removed. Whoever it knows is looked up in the file.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import aiosqlite

from stream.archive.runs import ALL, firsts_in

LEAST_PLACES = 1 << 17
"""Half a mebibyte: an archive that has just begun."""
_ABOVE_PLACE = 31
"""Bits of a hash that a fingerprint leaves out; a table's place is told by those at the other end."""


class Fingerprints:
    """An open hash table of 32-bit fingerprints, at most half full."""

    def __init__(self) -> None:
        self._table = array("I", bytes(4 * LEAST_PLACES))
        self._count = 0

    def note(self, hashes: Iterable[int]) -> list[int]:
        """Add traces, and return those that were there before."""
        table, mask, known, count = self._table, len(self._table) - 1, [], 0
        for hashed in hashes:
            place, fingerprint = hashed & mask, hashed >> _ABOVE_PLACE | 1
            while (there := table[place]) != fingerprint and there:
                place = (place + 1) & mask
            if there:
                known.append(hashed)
            else:
                table[place] = fingerprint
                count += 1
        self._count += count
        return known

    async def make_room(self, database: aiosqlite.Connection, count: int, *, live_from: int) -> None:
        """Make sure that so many traces can be added: read all that are archived again into a larger table if need be."""
        if 2 * (self._count + count) > len(self._table):
            await self.load(database, live_from=live_from, room=count)

    async def load(self, database: aiosqlite.Connection, *, live_from: int, room: int = 0) -> None:
        """Read the traces that are archived, with room for half as many more, or for `room`."""
        async with database.execute("SELECT ifnull(sum(entries), 0) FROM runs") as cursor:
            entries = sum([int(total) async for (total,) in cursor])
        places = max(LEAST_PLACES, 1 << (2 * (entries + max(entries // 2, room)) - 1).bit_length())
        self._table, self._count = array("I", bytes(4 * places)), 0
        async with database.execute(ALL) as cursor:
            async for (pairs,) in cursor:
                self.note([hashed for hashed, seq in firsts_in(pairs) if seq >= live_from])
