"""The slices of the index of traces: which records a trace has, by the hash of its id; see `stream.archive.runs` for who writes them.

A slice holds the hashes of an equal part of their range, then a mark for each: twice the record's number, plus one unless it is the
first record of its trace. (Integers of 8 bytes in the machine's order, which is little-endian wherever Eddy runs.)
"""

from __future__ import annotations

from bisect import bisect_left

from stream.archive.positions import HASH_BITS

SLICE_BITS = 24
"""Of a slice's key, below the run's number."""
FIND = f"SELECT pairs FROM runs JOIN slices ON slices.id = (run << {SLICE_BITS}) + (?1 >> ({HASH_BITS} - bits)) ORDER BY last_seq"  # noqa: S608 - constants
"""The slices where a hash may be; one statement, so that a merge never comes in between."""
ALL = "SELECT pairs FROM slices"


def unpack_pairs(pairs: bytes) -> tuple[memoryview, memoryview]:
    """Return the hashes and the marks of a slice."""
    both = memoryview(pairs).cast("q")
    return both[: len(both) // 2], both[len(both) // 2 :]


def marks_of(pairs: bytes, hashed: int) -> list[int]:
    """Return the marks of one hash in a slice, oldest first.

    Example:
        >>> from array import array
        >>> marks_of(array("q", [3, 7, 7, 9] + [2, 4, 7, 8]).tobytes(), 7)
        [4, 7]
    """
    hashes, marks = unpack_pairs(pairs)
    place = bisect_left(hashes, hashed)
    end = place
    while end < len(hashes) and hashes[end] == hashed:
        end += 1
    return list(marks[place:end])


def firsts_in(pairs: bytes) -> list[tuple[int, int]]:
    """Return hash and number of the records in a slice that are the first of their trace."""
    hashes, marks = unpack_pairs(pairs)
    return [(hashed, mark >> 1) for hashed, mark in zip(hashes, marks, strict=True) if not mark & 1]
