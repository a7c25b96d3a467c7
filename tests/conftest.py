"""What all tests share: a clean environment, and a broker for those that need one.

The broker is the embedded one; `EDDY_TEST_BROKER=kafka` makes it a fresh Apache Kafka, `EDDY_TEST_BOOTSTRAP=host:port` a given
cluster, whose topics named `eddy.*` and `eddy-*` are deleted before every module.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest

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

    async def start(self) -> str: ...

    async def stop(self) -> None: ...

    def kill(self) -> None: ...


class GivenBroker:
    """A cluster that is not ours: started and stopped by somebody else, and emptied of Eddy's topics."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    async def start(self) -> str:
        from aiokafka.admin import AIOKafkaAdminClient

        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            while ours := [name for name in await admin.list_topics() if name.startswith(("eddy.", "eddy-"))]:
                await admin.delete_topics(ours)
                await asyncio.sleep(0.2)
        finally:
            await admin.close()
        return self.bootstrap

    async def stop(self) -> None: ...

    def kill(self) -> None: ...


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


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker that this module has for itself."""
    yield from _running(tmp_path_factory.mktemp("broker"))


@pytest.fixture
def fresh_broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker that this test has for itself; on Kafka it costs some four seconds."""
    yield from _running(tmp_path / "broker")


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


def _running(data_dir: Path) -> Iterator[Broker]:
    broker = new_broker(data_dir)
    asyncio.run(broker.start())
    try:
        yield broker
    finally:
        broker.kill()
