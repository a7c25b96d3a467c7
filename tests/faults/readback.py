"""Reads back from the broker what stands there in the end: the log, its dead letters, the compacted topics as a fresh reader sees them."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from stream.settings import Settings
from stream.topic_reader import reading


class Stood(NamedTuple):
    """One record as the broker gives it; the fields that the fold reads have aiokafka's names."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def header(self, name: str) -> str | None:
        """The value of the first header of that name."""
        return next((value.decode() for key, value in self.headers if key == name), None)


async def read_all(settings: Settings, topic: str) -> dict[int, list[Stood]]:
    """Read every partition of a topic to its true end, in the order of offsets."""
    partitions: dict[int, list[Stood]] = defaultdict(list)
    async with reading(settings, topic) as reader:
        async for record in reader.to_end():
            partitions[record.partition].append(Stood(record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers)))
    for records in partitions.values():
        records.sort(key=lambda record: record.offset)
    return dict(partitions)


async def true_ends(settings: Settings, topic: str) -> dict[int, int]:
    """Find the offset after the last record of each partition."""
    async with reading(settings, topic) as reader:
        return {partition.partition: end for partition, end in (await reader.ends()).items()}


def newest(records: list[Stood]) -> dict[bytes, Stood]:
    """What a fresh reader of a compacted partition ends with."""
    standing: dict[bytes, Stood] = {}
    for record in records:
        standing.pop(record.key or b"", None)
        if record.value is not None:
            standing[record.key or b""] = record
    return standing
