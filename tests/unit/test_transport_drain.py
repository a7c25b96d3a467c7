"""What was fetched for one assignment must not reach the next: a late record of a changelog made a recovery miss what came before it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from mode import Service
from mode.utils.locks import Event

from stream.transport.drain import DirectDrain

CHANGELOG, SOURCE = ("changelog", 0), ("source", 0)


class FullQueue(Service):  # type: ignore[misc]
    """A consumer whose messages find their queue full until it is told otherwise."""

    _deliver, _may_hang = DirectDrain._deliver, DirectDrain._may_hang

    def __post_init__(self) -> None:
        self.app: Any = SimpleNamespace(
            consumer_generation_id=1,
            topics=SimpleNamespace(acks_enabled_for=lambda _: False),
            flow_control=SimpleNamespace(_suspend=asyncio.Event()),
        )
        self.transport: Any = SimpleNamespace(sources={"source"})
        self.flow_active, self.suspend_flow = True, Event()
        self.has_room = asyncio.Event()
        self.delivered: list[int] = []
        self._read_offset: dict[Any, int | None] = {}

    async def callback(self, message: Any) -> None:
        await self.has_room.wait()
        self.delivered.append(message.offset)

    def rebalance(self) -> None:
        self.flow_active = False
        self.suspend_flow.set()

    def reassign(self) -> None:
        self.app.consumer_generation_id += 1
        self._read_offset.clear()
        self.has_room.set()


def message(tp: tuple[str, int], offset: int) -> Any:
    return SimpleNamespace(topic=tp[0], offset=offset, generation_id=1)


async def test_changelog_record_that_waits_when_the_flow_closes_is_given_up() -> None:
    """It is read again, with all that stands before it, by whoever is assigned the partition next."""
    consumer = FullQueue()
    delivering = asyncio.create_task(consumer._deliver(CHANGELOG, message(CHANGELOG, 20), None))
    await asyncio.sleep(0.01)

    consumer.rebalance()
    await asyncio.wait_for(delivering, 5)
    consumer.reassign()
    await asyncio.sleep(0.01)

    assert consumer.delivered == []


async def test_late_chunk_does_not_hide_what_is_to_be_read_again() -> None:
    """Its agent drops it; were its offset noted for the new assignment, the chunk before it would never be delivered."""
    consumer = FullQueue()
    delivering = asyncio.create_task(consumer._deliver(SOURCE, message(SOURCE, 20), None))
    await asyncio.sleep(0.01)

    consumer.rebalance()
    consumer.reassign()
    await asyncio.wait_for(delivering, 5)

    assert consumer._read_offset == {}
