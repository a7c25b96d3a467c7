"""A log as archive tests write it: records by hand, numbered and timed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio

from stream.archive.archive import Archive
from stream.archive.intake import Rules
from stream.archive.mirror import Mirror
from stream.reading.query_class import classify_query

RULES = Rules(partitions=1, max_bytes=10_000, classify=classify_query)
START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Record:
    """What aiokafka's ConsumerRecord has that the archive reads."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Log:
    """One partition's log; every record is a second after the last."""

    records: list[Record] = field(default_factory=list)

    def add(self, value: bytes | None, *, key: bytes | None, headers: tuple[tuple[str, bytes], ...] = (), timestamp: int | None = None) -> Record:
        offset = len(self.records)
        self.records.append(Record(offset, START_MS + 1000 * offset if timestamp is None else timestamp, key, value, headers))
        return self.records[-1]

    def say(self, trace_id: str, **fields: Any) -> Record:
        return self.add(msgspec.json.encode({"trace_id": trace_id, **fields}), key=trace_id.encode())

    def trace(self, trace_id: str, **fields: Any) -> Record:
        return self.say(trace_id, **{"query_class": "code", "model": "m", "agent": "react", **fields})

    def feedback(self, trace_id: str, score: float, *, rater: str = "ann", kind: str = "human", given_at: float = 1.0) -> Record:
        return self.say(trace_id, type="feedback", rater=rater, rater_kind=kind, score=score, given_at=given_at)

    def forget(self, trace_id: str) -> Record:
        return self.say(trace_id, type="forget")


_OPENED: list[Archive] = []


@pytest_asyncio.fixture(autouse=True)
async def no_archive_left_open() -> AsyncIterator[None]:
    """A failed test leaves its archive open, whose thread would keep the process from ending."""
    yield
    while _OPENED:
        await _OPENED.pop().close()


async def opened(path: Path, *, rules: Rules = RULES, mirror: Mirror | None = None) -> Archive:
    _OPENED.append(await Archive.open(path / "archive.sqlite3", rules, mirror=mirror))
    return _OPENED[-1]


async def filled(path: Path, log: Log, *, rules: Rules = RULES) -> Path:
    """Archive and index a whole log, and close the archive again."""
    archive = await opened(path, rules=rules)
    await archive.append({0: log.records})
    await archive.index()
    await archive.close()
    return path / "archive.sqlite3"
