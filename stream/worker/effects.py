"""What a chunk sends elsewhere: dead letters for what cannot be folded, forwards for what stands in the wrong place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stream import metrics
from stream.fold.fold import Misplaced, Refused
from stream.topics import DEAD_LETTERS, TRACES
from stream.worker.holdings import HeldPartition
from stream.worker.sending import Send, acknowledged

KEY_BYTES = 1_024
"""As much of a dead letter's key as is kept; a trace id is shorter."""
ROOM_BYTES = 4_096
"""Left beside a dead letter's value for key (1 kB), detail (500 characters) and the other headers."""
MOST_IN_FLIGHT = 5_000
"""Effects of one partition that may be unacknowledged before its next chunk waits for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A record to be sent."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def dead_letter(record: Any, refused: Refused, *, partition: int, epoch: int, max_record_bytes: int) -> Outgoing:
    """Write the dead letter of a record: its bytes untouched, where it stood and what was wrong in the headers.

    A value that would not fit with them is cut to half of `max_record_bytes` and marked with its size, in `eddy-cut`. What has
    neither key nor value gets an empty key: no producer sends a record without both.
    """
    value, cut = record.value, []
    if value is not None and len(value) + ROOM_BYTES > max_record_bytes:
        value, cut = value[: max_record_bytes // 2], [("eddy-cut", str(len(value)))]
    named = [
        ("eddy-topic", TRACES.name),
        ("eddy-partition", str(partition)),
        ("eddy-offset", str(refused.offset)),
        ("eddy-epoch", str(epoch)),
        ("eddy-timestamp", str(record.timestamp)),
        ("eddy-reason", refused.reason),
        ("eddy-detail", refused.detail),
        *cut,
    ]
    key = record.key[:KEY_BYTES] if record.key is not None else b"" if value is None else None
    headers = tuple((name, text.encode("utf-8", "replace")) for name, text in named)
    return Outgoing(topic=DEAD_LETTERS.name, partition=partition, key=key, value=value, headers=headers)


def forward(record: Any, misplaced: Misplaced, *, partition: int) -> Outgoing:
    """Write the copy of a record that goes where its trace id belongs."""
    origin = ("eddy-forwarded", f"{partition}/{misplaced.offset}".encode())
    return Outgoing(topic=TRACES.name, partition=misplaced.partition, key=misplaced.key, value=record.value, headers=(origin,))


class Effects:
    """Sends the effects of chunks and remembers them with their partition until a checkpoint has waited for them."""

    def __init__(self, send: Send, *, max_record_bytes: int) -> None:
        self._send, self._max_record_bytes = send, max_record_bytes

    async def publish(self, held: HeldPartition, outcomes: Iterable[Refused | Misplaced], records: Sequence[Any]) -> None:
        """Send a dead letter or forward for each outcome; wait for acknowledgements only when too many are open.

        To be called right after the fold. The producer may make it wait between two of them; no checkpoint is taken then, since it
        would cover records whose effects nobody has sent, and a crash behind it would lose these.
        """
        by_offset: dict[int, Any] = {}
        held.is_sending = True
        for outcome in outcomes:
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
