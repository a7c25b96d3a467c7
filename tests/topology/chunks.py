"""What the topology tests share: an app without a broker, chunks to drive an agent with, and what it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from stream.app import WorkerApp, create_app
from stream.settings import load

GENERATION = 7


class EndOfProcess(BaseException):
    """Instead of the end of the process."""


class Worker:
    """An app whose producer only keeps what is sent, which owns everything, and whose fold is active."""

    def __init__(self, data_dir: Path, **given: Any) -> None:
        self.sent: list[tuple[str, int, bytes | None, bytes | None, dict[str, bytes]]] = []
        with patch.object(WorkerApp, "send_record", lambda _, *record: self._send(*record)):
            self.app: WorkerApp = create_app(load(data_dir=data_dir, partitions=4, worker_port=0, **given))
        self.app.consumer_generation_id = GENERATION
        self.app.checkpoints.statistics._is_active = lambda: True
        self.app.checkpoints.statistics._ownership = SimpleNamespace(is_certain=lambda *_: True)  # type: ignore[assignment]

    async def _send(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> asyncio.Future[Any]:
        self.sent.append((topic, partition, key, value, dict(headers)))
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged

    def agent(self, name: str) -> Any:
        """An agent by the last part of its name."""
        return next(agent for full, agent in self.app.agents.items() if full.split(".")[-1] == name)

    def sent_to(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        """Keys and values of what was sent to a topic."""
        return [(key, value) for where, _, key, value, _ in self.sent if where == topic]


class Chunks:
    """A stream of chunks, as an agent sees it."""

    def __init__(self, *chunks: Any) -> None:
        self._chunks = chunks

    async def events(self) -> AsyncIterator[Any]:
        for chunk in self._chunks:
            yield chunk


def chunk(topic: str, partition: int, *records: Any, generation: int = GENERATION) -> SimpleNamespace:
    """One event."""
    message = SimpleNamespace(tp=(topic, partition), topic=topic, partition=partition, offset=records[-1].offset, generation_id=generation)
    return SimpleNamespace(message=message, value=list(records))


def record(offset: int, value: Any, *, key: bytes | None = None, topic: str = "eddy.traces", partition: int = 0) -> SimpleNamespace:
    """One record of a log."""
    body = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return SimpleNamespace(topic=topic, partition=partition, offset=offset, timestamp=1_700_000_000_000 + offset, key=key, value=body)
