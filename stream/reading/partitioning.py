"""The partition of a key: murmur2, as Java clients and aiokafka compute it."""

from __future__ import annotations


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that a key belongs to."""
    raise NotImplementedError
