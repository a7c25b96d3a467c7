"""Brings a partition's state to the end of what is archived of it: its newest mirrored checkpoint, and the archived records after that.

An embedded broker that has lost everything is given the state, not the log: whatever stands in its log by then is simply what comes next.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import aiosqlite

from stream.archive import schema
from stream.archive.blocks import COLUMNS, Headers, unpack
from stream.archive.positions import Position
from stream.errors import CheckpointGapError
from stream.fold.checkpoint import Changelog, Checkpoint, checkpoint_end, recover, write_checkpoint
from stream.fold.elsewhere import Outgoing, dead_letter, forward
from stream.fold.fold import Refused, begin_epoch, fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.topics import checkpoints_topic

logger = logging.getLogger(__name__)

CHUNK = 1_000
"""Records folded before the event loop has its turn: some tens of milliseconds."""

Emit = Callable[[int, Sequence[Outgoing]], Awaitable[None]]
"""Takes what a chunk sends elsewhere, and the number of its records."""


class ArchivedRecord(NamedTuple):
    """A record as the fold reads it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """What of a partition is archived behind its newest checkpoint.

    Attributes:
        position: where the archive stands.
        state: at the end of that checkpoint; a fresh one where there is none and everything archived is folded.
        changelog: that it was found in.
        count: records behind it.
        handled_to: offset, as the archive counts, below which another fold has sent all dead letters and forwards.
    """

    position: Position
    state: PartitionState
    changelog: Changelog
    count: int
    handled_to: int = 0

    @property
    def first_offset(self) -> int:
        """Where it begins, as the archive counts; before all where nothing was folded."""
        return self.state.offset + 1 + self.position.shift if self.state.offset >= 0 else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Refolded:
    """A partition at the end of what is archived.

    Attributes:
        position: where the archive stands in the log that begins now.
        checkpoint: full, at the archive's end; None where nothing is archived.
        dead: keys of the parts that it makes needless.
    """

    position: Position
    checkpoint: Checkpoint | None
    dead: Sequence[bytes]


async def find_tail(database: aiosqlite.Connection, position: Position, spec: FoldSpec) -> Tail:
    """Recover the newest mirrored checkpoint of a partition; a mirrored changelog that nobody could recover from is dropped."""
    state, changelog = await _recovered(database, position.partition, spec)
    tail = Tail(position=position, state=state, changelog=changelog, count=0)
    if state.offset < 0:
        tail = replace(tail, handled_to=await _handled_to(database, position, spec))
    query = "SELECT sum(last_offset - max(first_offset, ?1) + 1) FROM blocks WHERE partition = ?2 AND last_offset >= ?1"
    return replace(tail, count=await schema.scalar(database, query, (tail.first_offset, position.partition)))


async def refold(database: aiosqlite.Connection, tail: Tail, classify: Callable[[str], str], emit: Emit) -> Refolded:
    """Fold a tail into the state that it follows, and begin the new log behind it.

    1. Fold in chunks, in order; what they send elsewhere is handed over before anything covers it.
    2. The next record, whoever writes it, is the first of the new log and is numbered on.
    3. Write all of it down.
    """
    state, changelog = tail.state, tail.changelog
    async for records in _chunks(database, tail):  # 1
        await emit(len(records), _elsewhere(tail, records, classify))
        await asyncio.sleep(0)
    offset = tail.position.offset
    position = replace(tail.position, base=offset + 1, shift=offset - state.offset, epoch=tail.position.epoch + 1, record_hash=None)
    if state.offset < 0:
        return Refolded(position=position, checkpoint=None, dead=())
    begin_epoch(state, 0)  # 2
    checkpoint = write_checkpoint(state, changelog, checkpoint_id=uuid.uuid4().bytes, full=True)  # 3
    return Refolded(position=position, checkpoint=checkpoint, dead=changelog.acknowledged(checkpoint))


def _elsewhere(tail: Tail, records: Sequence[ArchivedRecord], classify: Callable[[str], str]) -> list[Outgoing]:
    state, first = tail.state, tail.state.position
    numbered = [record._replace(offset=offset) for offset, record in enumerate(records, first)]
    sent = []
    for outcome in fold(state, numbered, classify):
        record = numbered[outcome.offset - first]
        if records[outcome.offset - first].offset < tail.handled_to:
            continue  # a copy from beyond the horizon would count a second time
        if isinstance(outcome, Refused):
            sent.append(dead_letter(record, outcome, partition=state.number, epoch=state.epoch, max_record_bytes=state.spec.max_record_bytes))
        else:
            sent.append(forward(record, outcome, partition=state.number))
    return sent


async def _handled_to(database: aiosqlite.Connection, position: Position, spec: FoldSpec) -> int:
    """Find how far the fold that was served before this one has sent what it could not fold: a checkpoint is written after that (promise P5)."""
    query = "SELECT topic, key, value FROM mirrored WHERE partition = ? AND topic LIKE ? AND topic != ?"
    of_fold: dict[str, dict[bytes, bytes]] = defaultdict(dict)
    async with database.execute(query, (position.partition, checkpoints_topic("%"), checkpoints_topic(spec.id))) as cursor:
        async for topic, key, value in cursor:
            of_fold[topic][key] = value
    ends: list[int] = []
    for topic, parts in of_fold.items():
        try:
            ends += [end for end in [checkpoint_end(parts)] if end is not None]
        except CheckpointGapError as exc:
            logger.warning("%s does not say how far its fold had come in partition %d (%s): what it sent on is sent again", topic, position.partition, exc)
    return max(ends) + position.shift + 1 if ends else 0


async def _recovered(database: aiosqlite.Connection, partition: int, spec: FoldSpec) -> tuple[PartitionState, Changelog]:
    place = (checkpoints_topic(spec.id), partition)
    async with database.execute("SELECT key, value FROM mirrored WHERE topic = ? AND partition = ?", place) as cursor:
        parts = {key: value async for key, value in cursor}
    try:
        return recover(parts, number=partition, spec=spec)
    except CheckpointGapError as exc:
        logger.error("the mirrored checkpoints of partition %d do not stand: %s; its log is folded anew, as far as it is archived", partition, exc)
        await database.execute("DELETE FROM mirrored WHERE topic = ? AND partition = ?", place)
        return recover({}, number=partition, spec=spec)


async def _chunks(database: aiosqlite.Connection, tail: Tail) -> AsyncIterator[list[ArchivedRecord]]:
    chunk: list[ArchivedRecord] = []
    query = f"SELECT {COLUMNS} FROM blocks WHERE partition = ? AND last_offset >= ? ORDER BY last_offset"  # noqa: S608 - a constant
    first = tail.first_offset
    async with database.execute(query, (tail.position.partition, first)) as cursor:
        async for row in cursor:
            chunk += [ArchivedRecord(entry.offset, entry.timestamp_ms, entry.key, entry.value, entry.headers) for entry in unpack(tuple(row)).entries() if entry.offset >= first]
            if len(chunk) >= CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk
