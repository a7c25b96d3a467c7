"""What a worker's app answers to those who watch it."""

from __future__ import annotations

from types import SimpleNamespace

from aiokafka import AIOKafkaConsumer

from stream.app import WorkerApp
from stream.topics import TRACES


async def test_end_of_a_log_that_was_just_taken_away_is_unknown_not_an_error() -> None:
    """A rebalance happens in another thread: the watchdog may ask for a partition that its consumer no longer has, and an error there ends the worker."""
    consumer = AIOKafkaConsumer()

    assert WorkerApp.high_watermark(SimpleNamespace(consumer=consumer), TRACES.name, 0) == 0  # type: ignore[arg-type]

    await consumer.stop()
