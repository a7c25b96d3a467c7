"""Finds, for every partition of a new assignment, its state in the changelog and its place in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stream import metrics
from stream.fold.checkpoint import recover
from stream.fold.fold import begin_epoch
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
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
    3. A log that does not hold the record remembered was made anew: go on at its start, numbering on.

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
    placed = []
    for state, changelog in recovered:
        view = views[TRACES.name, state.number]
        anew = is_another_log(state, view)
        if anew:
            _begin_anew(state, view)  # 3
        placed.append(Placed(held=HeldPartition(state=state, changelog=changelog), read_from=max(state.position, view.start), is_anew=anew))
    return placed


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


def _begin_anew(state: PartitionState, view: LogView) -> None:
    logger.error(
        "the log of partition %d was made anew: at offset %d stands another record than the one folded there;"
        " its records are numbered on from %d, and what was not folded of the old log is lost",
        state.number,
        _last_physical(state),
        state.offset + 1,
    )
    begin_epoch(state, view.start)
    metrics.EPOCHS.inc()


def _last_physical(state: PartitionState) -> int:
    return state.position - 1
