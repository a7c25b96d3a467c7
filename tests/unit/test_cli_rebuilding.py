"""A rebuild ends, whatever the log ends with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream.cli import rebuilding
from stream.topics import TRACES
from stream.transport import probe
from stream.transport.probe import LogView

PARTITIONS = [TopicPartition(TRACES.name, number) for number in range(3)]
SETTINGS: Any = SimpleNamespace(client_options={})


class Log:
    """Three partitions: records to offset 9; records to 7 and two markers; markers only. A worker commits five records a look."""

    def __init__(self) -> None:
        self.looks = 0
        self.ends = dict(zip(PARTITIONS, (10, 10, 4), strict=True))
        self.records = dict(zip(PARTITIONS, (10, 8, 0), strict=True))

    async def read_ends(self, _: Any) -> dict[TopicPartition, int]:
        return dict(self.ends)

    @asynccontextmanager
    async def offsets(self, *_: Any) -> AsyncIterator[Any]:
        yield self.committed_at

    async def committed_at(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        self.looks += 1
        return {partition: min(5 * (self.looks - 2), self.records[partition]) if self.looks > 2 else 0 for partition in partitions}

    async def look(self, _: Any, offsets: dict[tuple[str, int], int]) -> dict[tuple[str, int], LogView]:
        return {place: self._view(TopicPartition(*place), offset) for place, offset in offsets.items()}

    def _view(self, partition: TopicPartition, offset: int) -> LogView:
        return LogView(start=0, end=self.ends[partition], record=object() if offset < self.records[partition] else None)


async def test_rebuild_has_caught_up_where_the_log_ends_in_markers(monkeypatch: pytest.MonkeyPatch):
    """A producer's transaction leaves an offset at the end that no worker ever commits: waiting for it never ended.

    Nothing is committed at the first two looks, while the worker starts: that is not taken for the end of partitions with records.
    """
    log = Log()
    for name, fake in (("_ends", log.read_ends), ("_offsets", log.offsets), ("LOOK_S", 0)):
        monkeypatch.setattr(rebuilding, name, fake)
    monkeypatch.setattr(probe, "look", log.look)

    assert await rebuilding._caught_up(SETTINGS, "eddy-fold", quiet=True) == 18

    assert log.looks >= 4, "all records were committed"
