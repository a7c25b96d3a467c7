"""How records leave a worker: handed to the producer now, acknowledged later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from stream.worker.fatal import end_process

ACKNOWLEDGED_WITHIN_S = 60.0
"""Beyond the producer's own time-out (30 s), so that its error is the one seen."""


class Send(Protocol):
    """Hands a record to the producer; what it returns resolves when all in-sync replicas have it."""

    async def __call__(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> asyncio.Future[Any]:
        """Send one record to a partition of a topic."""


async def acknowledged(futures: Iterable[asyncio.Future[Any]]) -> None:
    """Wait until all are acknowledged.

    Raises:
        KafkaError: the broker refused one.
        TimeoutError: one was not acknowledged in time.
    """
    await asyncio.wait_for(asyncio.gather(*futures), ACKNOWLEDGED_WITHIN_S)


def die_if_refused(sent: asyncio.Future[Any]) -> None:
    """End the process when a record that nobody waits for is not acknowledged; for `Future.add_done_callback`."""
    if not sent.cancelled() and (error := sent.exception()) is not None:
        end_process(error, "publishing what has been learned")
