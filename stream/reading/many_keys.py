"""The partitions of many keys at once: `partition_of` for a whole chunk, in NumPy where it is installed (the extra `worker` brings it)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from stream.reading.partitioning import SEED, M, partition_of

try:
    import numpy as np
except ImportError:
    HAS_NUMPY = False
else:
    HAS_NUMPY = True

FEW = 16
"""Keys of one length below which arrays are not worth setting up."""


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """Return the partition of every key; for keys of one length at a fraction of `partition_of`'s price.

    Example:
        >>> keys = [b"%016x" % number for number in range(20)]
        >>> partitions_of(keys, 8) == [partition_of(key, 8) for key in keys]
        True
    """
    lengths = set(map(len, keys))
    if len(lengths) == 1 and HAS_NUMPY and len(keys) >= FEW:
        return _partitions_of_equally_long(keys, lengths.pop(), partitions)
    if len(lengths) <= 1 or not HAS_NUMPY:
        return [partition_of(key, partitions) for key in keys]
    return _by_length(keys, partitions)


def _by_length(keys: Sequence[bytes], partitions: int) -> list[int]:
    places: dict[int, list[int]] = defaultdict(list)
    for at, key in enumerate(keys):
        places[len(key)].append(at)
    found = [0] * len(keys)
    for group in places.values():
        for at, partition in zip(group, partitions_of([keys[at] for at in group], partitions), strict=True):
            found[at] = partition
    return found


def _partitions_of_equally_long(keys: Sequence[bytes], length: int, partitions: int) -> list[int]:
    """Do the steps of murmur2 with a column of words each, one word of every key; unsigned numbers of 32 bits overflow as they should."""
    whole, rest = length & ~3, length & 3
    grid = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), length)
    hashed: Any = np.full(len(keys), SEED ^ length, dtype=np.uint32)
    m = np.uint32(M)
    for word in np.ascontiguousarray(grid[:, :whole]).view("<u4").T:
        mixed = word * m
        hashed = (mixed ^ mixed >> 24) * m ^ hashed * m
    if rest:
        hashed = (hashed ^ _last_word(grid[:, whole:])) * m
    hashed = (hashed ^ hashed >> 13) * m
    hashed ^= hashed >> 15
    return ((hashed & 0x7FFFFFFF) % partitions).tolist()  # type: ignore[no-any-return]


def _last_word(grid: Any) -> Any:
    """Read what is left of every key, less than four bytes, as a number."""
    word = np.zeros((len(grid), 4), dtype=np.uint8)
    word[:, : grid.shape[1]] = grid
    return word.view("<u4")[:, 0]
