"""How far the active fold has sent on what it could not fold, so that another fold reading the same log does not send it again.

A copy that is older than the horizon would count a second time, in both folds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.errors import BrokerUnavailableError
from stream.topics import TRACES
from stream.transport.probe import true_ends

PATIENCE_S = 30.0


async def handled_by(fold: str, numbers: Iterable[int], client_options: Mapping[str, Any]) -> dict[int, int]:
    """Find the physical offsets below which a fold has sent all dead letters and forwards: those it has committed (promise P5).

    What is committed beyond the end of a partition was of another log, and says nothing of this one.

    Raises:
        BrokerUnavailableError: the broker does not answer in time.
    """
    places = [(TRACES.name, number) for number in numbers]
    ends = await true_ends(client_options, places)
    try:
        async with asyncio.timeout(PATIENCE_S):
            committed = await _committed(f"eddy-{fold}", places, client_options)
    except TimeoutError as exc:
        raise BrokerUnavailableError(f"the broker has not said for {PATIENCE_S:g} s what fold {fold} has committed, but another fold must know; see whether it is well") from exc
    return {number: offset for (topic, number), offset in committed.items() if offset <= ends[topic, number]}


async def _committed(group: str, places: Iterable[tuple[str, int]], client_options: Mapping[str, Any]) -> dict[tuple[str, int], int]:
    """Ask with a consumer that never joins the group; the embedded broker hangs up on an admin client that asks."""
    consumer = AIOKafkaConsumer(**client_options, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        return {place: await consumer.committed(TopicPartition(*place)) or 0 for place in places}
    finally:
        await consumer.stop()
