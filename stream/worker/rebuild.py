"""Finds, for every partition of a new assignment, its state in the changelog and its place in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream import metrics
from stream.fold.checkpoint import Changelog, recover
from stream.fold.fold import begin_epoch
from stream.fold.parts import Mark
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState, record_hash
from stream.topics import TRACES
from stream.transport.probe import LogView, look
from stream.worker.fatal import logger
from stream.worker.holdings import HeldPartition


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A recovered partition and its place in the log.

    Attributes:
        held: the partition.
        read_from: physical offset of the record to read next.
        is_anew: whether its log was made anew.
    """

    held: HeldPartition
    read_from: int
    is_anew: bool


async def rebuild(numbers: Iterable[int], *, take: Callable[[int], Mapping[bytes, bytes]], spec: FoldSpec, client_options: Mapping[str, Any]) -> list[Placed]:
    """Recover partitions.

    1. The newest state of each that its changelog holds.
    2. What its log looks like where that state ends.
    3. A log that does not hold the record remembered has lost its end, or was made anew: go on, numbering on, behind the newest record
       that is known to stand where it stood, or else at the log's start.

    Args:
        numbers: of the partitions.
        take: hands over the raw parts read from a partition's changelog.
        spec: of the fold.
        client_options: how the broker is reached.

    Raises:
        CheckpointGapError: a changelog lacks a part; read it again.
        BrokerUnavailableError: the log cannot be looked at.
    """
    recovered = []
    for number in numbers:
        recovered.append(recover(take(number), number=number, spec=spec))  # 1
        await asyncio.sleep(0)  # half a second of work each, when they are large
    views = await look(client_options, {(TRACES.name, state.number): max(_last_physical(state), 0) for state, _ in recovered})  # 2
    return await asyncio.gather(*[_place(state, changelog, views[TRACES.name, state.number], client_options) for state, changelog in recovered])


async def _place(state: PartitionState, changelog: Changelog, view: LogView, client_options: Mapping[str, Any]) -> Placed:
    anew = is_another_log(state, view)
    if anew:
        known = await last_known(state, changelog.marks, view, client_options)
        _begin_anew(state, max(known + 1, view.start))  # 3
    return Placed(held=HeldPartition(state=state, changelog=changelog), read_from=max(state.position, view.start), is_anew=anew)


async def last_known(state: PartitionState, marks: Sequence[Mark], view: LogView, client_options: Mapping[str, Any]) -> int:
    """Find the last of the marks at which the log has the record that was folded there.

    A broker that lost its last records, by an unclean election or a machine's sudden end, has all before them still. Folding these again
    would count twice whatever has left the horizon; what follows the mark has not left it.

    Returns:
        Its physical offset, -1 where the log has none of them: it is another one.
    """
    inside = [(end - state.base, hashed) for end, hashed in marks if view.start <= end - state.base < view.end]
    known, at, low, high = -1, 0, 0, len(inside)
    while low < high:
        offset, hashed = inside[at]
        if await _stands_at(offset, hashed, state.number, client_options):
            known, low = offset, at + 1
        else:
            high = at
        at = (low + high) // 2
    return known


async def _stands_at(offset: int, hashed: int, number: int, client_options: Mapping[str, Any]) -> bool:
    place = (TRACES.name, number)
    record = (await look(client_options, {place: offset}))[place].record
    return record is not None and record.offset == offset and record_hash(record.value, record.timestamp) == hashed


def is_another_log(state: PartitionState, view: LogView) -> bool:
    """Tell whether the log is not the one that the state was folded from.

    Args:
        state: as recovered.
        view: of the log, around the last record folded.
    """
    last = _last_physical(state)
    if state.offset < state.epoch_start:
        return False  # nothing of this log was folded yet
    if view.end <= last:
        return True
    if view.start > last:
        return False  # retention has removed the record; what is left to compare says nothing against it
    if state.record_hash == 0:
        return bool(view.record.offset == last) if view.record is not None else False
    return view.record is None or view.record.offset != last or not state.recognises(view.record.value, view.record.timestamp)


def _begin_anew(state: PartitionState, first_physical: int) -> None:
    logger.error(
        "the log of partition %d was made anew, or has lost its end: at offset %d there is not the record that was folded there;"
        " its records from %d on are numbered on from %d, and what was not folded of the old log is lost",
        state.number,
        _last_physical(state),
        first_physical,
        state.offset + 1,
    )
    begin_epoch(state, first_physical)
    metrics.EPOCHS.inc()


def _last_physical(state: PartitionState) -> int:
    return state.position - 1
