"""The partition of a key: murmur2, as Java clients and aiokafka compute it."""

from __future__ import annotations

import struct
from functools import lru_cache

SEED = 0x9747B28C
M = 0x5BD1E995
MASK = 0xFFFFFFFF


@lru_cache(maxsize=512)
def _words(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}I")


def murmur2(key: bytes) -> int:
    """Return the 32-bit murmur2 hash of a key.

    Example:
        >>> murmur2(b"abc")
        479470107

    Source: org.apache.kafka.common.utils.Utils.murmur2; products are reduced once for two multiplications.
    """
    length = len(key)
    whole = length >> 2
    hashed = SEED ^ length
    for word in _words(whole).unpack_from(key):
        mixed = word * M & MASK
        hashed = ((mixed ^ mixed >> 24) * M ^ hashed * M) & MASK
    if length & 3:
        hashed = (hashed ^ int.from_bytes(key[whole << 2 :], "little")) * M & MASK
    hashed = (hashed ^ hashed >> 13) * M & MASK
    return hashed ^ hashed >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that a key belongs to.

    Example:
        >>> partition_of(b"e207e52bb9d2573a", 8)
        6
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions
