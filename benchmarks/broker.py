"""The broker that a benchmark runs on: an embedded one, or an Apache Kafka of the tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stream.broker import EmbeddedBroker
from stream.provision import provision
from stream.settings import Settings, load
from tests.kafka.broker import KafkaBroker

PARTITIONS = 8
SETTINGS_OF = {"kafka": {"session_timeout_s": 10.0}, "embedded": {"session_timeout_s": 6.0}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What contestants meet: a broker that runs, and the topics on it.

    Attributes:
        kind: `kafka` or `embedded`.
        pid: the broker's process.
        folder: for whatever a contestant keeps.
        settings: how a client reaches it.
    """

    kind: str
    pid: int
    folder: Path
    settings: Settings

    def environ(self, **fields: object) -> dict[str, str]:
        """The environment of a process of Eddy's; `fields` are further settings by name."""
        given = {"bootstrap": self.settings.bootstrap, "partitions": self.settings.partitions, "session_timeout_s": self.settings.session_timeout_s} | fields
        return {f"EDDY_{name.upper()}": str(value) for name, value in given.items()}


@asynccontextmanager
async def ground(kind: str, folder: Path, *, partitions: int = PARTITIONS, properties: str = "") -> AsyncIterator[Ground]:
    """Run a broker with Eddy's topics in a new folder, until the block ends.

    Args:
        kind: `kafka` or `embedded`.
        folder: made; it holds the broker's log and what contestants keep.
        partitions: of the traces.
        properties: further lines of a Kafka's configuration.
    """
    broker = KafkaBroker(folder / "kafka", properties=properties) if kind == "kafka" else EmbeddedBroker(folder / "broker")
    bootstrap = await broker.start()
    settings = load(bootstrap=bootstrap, partitions=partitions, data_dir=folder, **SETTINGS_OF[kind])
    try:
        await provision(settings)
        assert broker.pid is not None
        yield Ground(kind=kind, pid=broker.pid, folder=folder, settings=settings)
    finally:
        broker.kill()
