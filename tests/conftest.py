"""What all tests share: a clean environment, and a broker for those that need one.

The broker is the embedded one, a new process every time. `EDDY_TEST_BROKER=kafka` makes it an Apache Kafka, started once for all
tests, `EDDY_TEST_BOOTSTRAP=host:port` a given cluster; there, topics named `eddy.*` and `eddy-*` are deleted instead, which takes
a tenth of the time that a new process does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from stream.broker import EmbeddedBroker
from stream.settings import Settings, load

ON_KAFKA = os.environ.get("EDDY_TEST_BROKER") == "kafka" or bool(os.environ.get("EDDY_TEST_BOOTSTRAP"))

hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


class Broker(Protocol):
    """A broker as tests use it."""

    @property
    def bootstrap(self) -> str: ...

    @property
    def pid(self) -> int | None: ...

    async def start(self) -> str: ...

    async def stop(self) -> None: ...

    def kill(self) -> None: ...


class GivenBroker:
    """A cluster that is not ours: started and stopped by somebody else."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    @property
    def pid(self) -> int | None:
        return 0

    async def start(self) -> str:
        return self.bootstrap

    async def stop(self) -> None: ...

    def kill(self) -> None: ...


async def delete_topics(bootstrap: str) -> None:
    """Delete Eddy's topics, and with them what groups have committed for them, and wait until none is left."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        while ours := [name for name in await admin.list_topics() if name.startswith(("eddy.", "eddy-"))]:
            await admin.delete_topics(ours)
            await asyncio.sleep(0.1)
    finally:
        await admin.close()


def new_broker(data_dir: Path) -> Broker:
    """Make a broker of the kind that this run is on; it is not started."""
    if given := os.environ.get("EDDY_TEST_BOOTSTRAP"):
        return GivenBroker(given)
    if ON_KAFKA:
        from tests.kafka.broker import KafkaBroker

        return KafkaBroker(data_dir)
    return EmbeddedBroker(data_dir)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    unwanted, reason = ("embedded_only", "is about the embedded broker, and this run is on Kafka") if ON_KAFKA else ("kafka_only", "needs Apache Kafka: make test-kafka")
    for item in items:
        if item.get_closest_marker(unwanted):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine or of a CI reaches a test."""
    for name in [name for name in os.environ if name.startswith("EDDY_") and not name.startswith("EDDY_TEST_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker | None]:
    """The one Kafka that all tests of a run on Kafka share; started when it is first used."""
    shared = new_broker(tmp_path_factory.mktemp("kafka")) if ON_KAFKA else None
    yield shared
    if shared is not None:
        shared.kill()


@pytest.fixture(scope="module")
def broker(kafka: Broker | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker without topics, which this module has for itself. A module takes this or `fresh_broker`, not both."""
    yield from _running(kafka, tmp_path_factory.mktemp("broker"))


@pytest.fixture
def fresh_broker(kafka: Broker | None, tmp_path: Path) -> Iterator[Broker]:
    """A running broker without topics, which this test has for itself and may kill and start again."""
    yield from _running(kafka, tmp_path / "broker")


@pytest.fixture(scope="module")
def bootstrap(broker: Broker) -> str:
    """Address of a running broker that this module has for itself."""
    return broker.bootstrap


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a small deployment whose files are this test's own; anything given outranks them."""

    def make(bootstrap: str, **given: Any) -> Settings:
        return load(**{"bootstrap": bootstrap, "partitions": 4, "data_dir": tmp_path / "data", "worker_port": 0, "learner_port": 0, **given})

    return make


def _running(kafka: Broker | None, data_dir: Path) -> Iterator[Broker]:
    if kafka is None:
        embedded = EmbeddedBroker(data_dir)
        asyncio.run(embedded.start())
        yield embedded
        embedded.kill()
    else:
        if kafka.pid is None:
            asyncio.run(kafka.start())
        asyncio.run(delete_topics(kafka.bootstrap))
        yield kafka
