"""What the client's broker tests share: routing updates, and what stands on a topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer, ConsumerRecord

from stream.records import Arm, ArmRouting, ArmState, RoutingUpdate
from stream.settings import Settings
from stream.topic_reader import reading
from stream.topics import ROUTING, TRACES


def routing_update(
    query_class: str,
    probabilities: Mapping[str, float],
    *,
    version: tuple[int, int] = (1, 1),
    policy: str = "thompson",
    states: Mapping[str, ArmState] | None = None,
) -> RoutingUpdate:
    """An update that says nothing but what a router needs."""
    arms = [
        ArmRouting(
            id=arm_id,
            arm=Arm.parse(arm_id),
            probability=probability,
            mean=None,
            interval=None,
            effective_count=0.0,
            rated_count=0,
            count=0,
            cost_usd=None,
            latency_s=None,
            state=(states or {}).get(arm_id, "active"),
        )
        for arm_id, probability in probabilities.items()
    ]
    return RoutingUpdate(
        query_class=query_class,
        fold="0123456789ab",
        policy=policy,
        version=version,
        log_time_ms=0,
        exploration_share=0.05,
        interval_method="wilson",
        alpha=0.05,
        best_arm=None,
        reason="a test says so",
        arms=tuple(arms),
    )


async def write_routes(settings: Settings, *updates: RoutingUpdate | str) -> None:
    """Put updates on `eddy.routing`, a string as the tombstone of that class, each in a batch of its own."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    await producer.start()
    try:
        for update in updates:
            tombstone = isinstance(update, str)
            key = update if tombstone else update.query_class
            await producer.send_and_wait(ROUTING.name, key=key.encode(), value=None if tombstone else msgspec.json.encode(update))
    finally:
        await producer.stop()


async def records_of(settings: Settings, topic: str = TRACES.name) -> list[ConsumerRecord[Any, Any]]:
    """All that stands on a topic."""
    async with reading(settings, topic) as reader:
        return [record async for record in reader.to_end()]


async def values_of(settings: Settings, topic: str = TRACES.name) -> list[dict[str, Any]]:
    """All that stands on a topic, decoded."""
    return [msgspec.json.decode(record.value) for record in await records_of(settings, topic)]


async def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)
