"""Which traces may be archived already, in memory: a Bloom filter, so that a new trace costs no look-up in the file.

It takes 4 to 8 bytes a trace. It is rebuilt from the file when the archive is opened and when it is full. It never misses a trace that is
archived; whoever it suspects is looked up: one new trace in five thousand when it is full, and one that has been removed.
(B. H. Bloom, Space/time trade-offs in hash coding with allowable errors, 1970.)
"""

from __future__ import annotations

from collections.abc import Iterator

import aiosqlite
import numpy as np
from numpy.typing import NDArray

from stream.archive.runs import Integers, arrays_of
from stream.archive.slices import ALL

LEAST_BITS = 1 << 22
"""Half a mebibyte: an archive that has just begun."""
BITS_A_TRACE = 32
PROBES = 4
"""Bits that a trace sets; (1 - exp(-4 / 32))^4 is what a full filter suspects wrongly: 1.9e-4."""
_STEP_BITS = 31
"""Of a hash, at its upper end: the step between its probes; those at the other end say where it begins."""


class BloomFilter:
    """A set of hashes that may believe to have one that it has not, but never the other way round."""

    def __init__(self) -> None:
        self._bytes = _empty(LEAST_BITS)
        self._count = 0

    def add(self, hashes: Integers) -> Integers:
        """Add traces, and return those that may have been there before, or are there twice."""
        traces, times = np.unique(hashes, return_counts=True)
        suspected = np.ones(len(traces), dtype=bool)
        for at, bit in self._probes(traces):
            suspected &= self._set(at, bit)
        self._count += len(traces) - int(np.count_nonzero(suspected))
        return traces[suspected | (times > 1)]

    async def make_room(self, database: aiosqlite.Connection, count: int, *, live_from: int) -> None:
        """Make sure that so many traces can be added: read all that are archived again into a larger filter if need be."""
        if BITS_A_TRACE * (self._count + count) > 8 * len(self._bytes):
            await self.load(database, live_from=live_from, room=count)

    async def load(self, database: aiosqlite.Connection, *, live_from: int, room: int = 0) -> None:
        """Read the traces that are archived, with room for half as many more, or for `room`."""
        async with database.execute("SELECT ifnull(sum(entries), 0) FROM runs") as cursor:
            entries = sum([int(total) async for (total,) in cursor])
        self._bytes = _empty(max(LEAST_BITS, 1 << (BITS_A_TRACE * (entries + max(entries // 2, room)) - 1).bit_length()))
        self._count = 0
        async with database.execute(ALL) as cursor:
            async for (pairs,) in cursor:
                hashes, marks = arrays_of([pairs])
                self.add(hashes[(marks & 1 == 0) & (marks >> 1 >= live_from)])

    def _set(self, at: Integers, bit: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Set a bit in each of some bytes; returns which were set."""
        were_set: NDArray[np.bool_] = self._bytes[at] & bit != 0
        missing = ~were_set
        while missing.any():
            at, bit = at[missing], bit[missing]
            self._bytes[at] |= bit  # of several that fall on one byte only the last counts, so that the others come again
            missing = self._bytes[at] & bit == 0
        return were_set

    def _probes(self, hashes: Integers) -> Iterator[tuple[Integers, NDArray[np.uint8]]]:
        """Yield each probe of all hashes: the byte, and the bit in it."""
        step = hashes >> _STEP_BITS | 1
        for probe in range(PROBES):
            places = hashes + probe * step & 8 * len(self._bytes) - 1
            yield places >> 3, np.left_shift(1, places & 7, dtype=np.int64).astype(np.uint8)


def _empty(bits: int) -> NDArray[np.uint8]:
    return np.zeros(bits // 8, dtype=np.uint8)
