"""Makes the held partitions durable: checkpoints, sent whole and awaited, before anything of them is committed (promise P5)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

from stream import metrics
from stream.fold.checkpoint import Checkpoint, Part, write_checkpoint
from stream.topics import TRACES
from stream.worker.fatal import fatal_errors, logger
from stream.worker.holdings import HeldPartition, Holdings
from stream.worker.ownership import Ownership
from stream.worker.sending import Send, acknowledged

TICK_S = 0.05
OWNERSHIP_TICK_S = 0.05
FINISH_S = 15.0
"""How long the last checkpoints may take at the end of a process; a supervisor kills after 30 s."""


class Checkpointer:
    """Writes a checkpoint of every partition that has changed, each interval or each so many records.

    Args:
        holdings: the partitions.
        send: to the changelog.
        ownership: asked right before anything is sent.
        changelog: name of the changelog topic, copartitioned with the traces.
        interval_s: between two checkpoints of a partition.
        every_records: records after which one is due at once.
    """

    def __init__(self, holdings: Holdings, *, send: Send, ownership: Ownership, changelog: str, interval_s: float, every_records: int) -> None:
        self._holdings, self._send, self._ownership, self._changelog = holdings, send, ownership, changelog
        self._interval_s, self._every_records = interval_s, every_records

    async def run(self) -> None:
        """Start what is due, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            for held in self._holdings:
                if self._is_due(held, time.monotonic()):
                    self._start(held)

    async def finish(self) -> None:
        """Write a last checkpoint of everything that is not durable yet."""
        async with asyncio.timeout(FINISH_S):
            await asyncio.gather(*[self._finish_one(held) for held in self._holdings])

    async def _finish_one(self, held: HeldPartition) -> None:
        if held.writing is not None:
            await held.writing
        if held.is_dirty and not held.is_sending:
            await self._start(held)

    def _is_due(self, held: HeldPartition, now_s: float) -> bool:
        if held.writing is not None or held.is_sending or not held.is_dirty:
            return False
        return now_s >= held.checkpoint_due_s or held.folded >= self._every_records

    def _start(self, held: HeldPartition) -> asyncio.Task[None]:
        """Write one checkpoint.

        1. Take it, here and now: a chunk folded before the task runs would be covered while its effects are still to be sent.
        2. Wait for the effects of all that it covers.
        3. Wait until ownership is certain; if the assignment ends first, it is dropped with the partition.
        4. Send all parts, and wait until every in-sync replica has them: now the state is durable to its end.
        5. After a full one, retire what it replaces.
        """
        held.checkpoint_due_s = time.monotonic() + self._interval_s
        with fatal_errors(f"taking a checkpoint of partition {held.number}"):
            checkpoint = write_checkpoint(held.state, held.changelog, checkpoint_id=uuid.uuid4().bytes, full=held.changelog.full_is_due(held.state))  # 1
        effects, held.effects, held.folded = held.effects, [], 0
        held.writing = asyncio.get_running_loop().create_task(self._write_or_die(held, checkpoint, effects))
        return held.writing

    async def _write_or_die(self, held: HeldPartition, checkpoint: Checkpoint, effects: list[asyncio.Future[Any]]) -> None:
        with fatal_errors(f"writing a checkpoint of partition {held.number}"):
            try:
                await self._write(held, checkpoint, effects)
            finally:
                held.writing = None

    async def _write(self, held: HeldPartition, checkpoint: Checkpoint, effects: list[asyncio.Future[Any]]) -> None:
        """Do steps 2 to 5 of `_start`."""
        began_s = time.monotonic()
        await acknowledged(effects)  # 2
        if not await self._is_ours(held):  # 3
            return
        await self._send_parts(held.number, checkpoint.parts)  # 4
        dead = held.changelog.acknowledged(checkpoint)
        _count(checkpoint, time.monotonic() - began_s)
        if dead and await self._is_ours(held):  # 5
            await self._retire(held.number, dead, checkpoint)

    async def _is_ours(self, held: HeldPartition) -> bool:
        doubted = False
        while held.is_held and not self._ownership.is_certain(TRACES.name, held.number):
            if not doubted:
                metrics.OWNERSHIP_WAITS.inc()
                logger.warning("partition %d may have another owner by now: nothing is written until that is known", held.number)
            doubted = True
            await asyncio.sleep(OWNERSHIP_TICK_S)
        return held.is_held

    async def _send_parts(self, number: int, parts: Sequence[Part]) -> None:
        await acknowledged([await self._send(self._changelog, number, part.key, part.value) for part in parts])

    async def _retire(self, number: int, dead: Sequence[bytes], checkpoint: Checkpoint) -> None:
        """Write tombstones, then one part again: a changelog that ends with a tombstone ends, once it is cleaned, before
        the offset up to which Faust wants to read it.
        """
        futures = [await self._send(self._changelog, number, key, None) for key in dead]
        smallest = min(checkpoint.parts, key=lambda part: len(part.value))
        futures.append(await self._send(self._changelog, number, smallest.key, smallest.value))
        await acknowledged(futures)
        metrics.TOMBSTONES.inc(len(dead))


def _count(checkpoint: Checkpoint, seconds: float) -> None:
    metrics.CHECKPOINTS.labels("full" if checkpoint.full else "delta").inc()
    metrics.CHECKPOINT_BYTES.inc(sum(len(part.key) + len(part.value) for part in checkpoint.parts))
    metrics.CHECKPOINT_SECONDS.observe(seconds)
