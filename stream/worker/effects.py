"""Sends what a chunk has for elsewhere, and sees that no checkpoint covers it before it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from stream import metrics
from stream.fold.elsewhere import Outgoing, dead_letter, forward
from stream.fold.fold import Misplaced, Refused
from stream.topics import TRACES
from stream.worker.holdings import HeldPartition
from stream.worker.sending import Send, acknowledged

MOST_IN_FLIGHT = 5_000
"""Effects of one partition that may be unacknowledged before its next chunk waits for them."""


class Effects:
    """Sends the effects of chunks and remembers them with their partition until a checkpoint has waited for them."""

    def __init__(self, send: Send, *, max_record_bytes: int) -> None:
        self._send, self._max_record_bytes = send, max_record_bytes

    async def publish(self, held: HeldPartition, outcomes: Iterable[Refused | Misplaced], records: Sequence[Any]) -> None:
        """Send a dead letter or forward for each outcome; wait for acknowledgements only when too many are open.

        To be called right after the fold. The producer may make it wait between two of them; no checkpoint is taken then, since it
        would cover records whose effects nobody has sent, and a crash behind it would lose these. What another fold, the active one,
        has sent already is not sent again.
        """
        by_offset: dict[int, Any] = {}
        held.is_sending = True
        for outcome in (outcome for outcome in outcomes if outcome.offset >= held.handled_to):
            by_offset = by_offset or {record.offset: record for record in records}
            await self._publish_one(held, outcome, by_offset[outcome.offset])
        held.is_sending = False
        if len(held.effects) > MOST_IN_FLIGHT:
            await acknowledged(held.effects)
            held.effects.clear()

    async def _publish_one(self, held: HeldPartition, outcome: Refused | Misplaced, record: Any) -> None:
        if isinstance(outcome, Refused):
            outgoing = dead_letter(record, outcome, partition=held.number, epoch=held.state.epoch, max_record_bytes=self._max_record_bytes)
            metrics.DEAD_LETTERS.labels(TRACES.name, outcome.reason).inc()
        else:
            outgoing = forward(record, outcome, partition=held.number)
            metrics.FORWARDS.labels(outcome.reason).inc()
        held.effects.append(await self._hand_over(outgoing))

    async def _hand_over(self, outgoing: Outgoing) -> asyncio.Future[Any]:
        return await self._send(outgoing.topic, outgoing.partition, outgoing.key, outgoing.value, outgoing.headers)
