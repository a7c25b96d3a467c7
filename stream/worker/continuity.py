"""Sees that every chunk follows the last one, and says why where the log itself has a hole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream import metrics
from stream.errors import LogGapError
from stream.fold.state import PartitionState
from stream.topics import TRACES
from stream.transport.probe import look


class Continuity:
    """Compares chunks with the state they are to be folded into.

    Args:
        client_options: how the broker is reached, to look at the log where a chunk does not follow.
    """

    def __init__(self, client_options: Mapping[str, Any]) -> None:
        self._client_options = client_options

    async def check(self, state: PartitionState, records: Sequence[Any]) -> None:
        """Let a chunk pass that follows; skip what the log does not hold.

        Raises:
            LogGapError: the chunk does not follow though the log has what lies between, or it is of another log.
        """
        first = records[0].offset
        if first > state.position:
            await self._skip(state, first)
        elif first < state.position and not _overlaps(state, records):
            raise LogGapError(
                f"a chunk of partition {state.number} begins at offset {first}, but {state.position} is next and what lies before"
                " was folded from another log; start again, which looks at the log"
            )

    async def _skip(self, state: PartitionState, first: int) -> None:
        view = (await look(self._client_options, {(TRACES.name, state.number): state.position}))[TRACES.name, state.number]
        if view.record is None or view.record.offset != first:
            raise LogGapError(f"a chunk of partition {state.number} begins at offset {first}, but {state.position} is next and the log has it; start again, which reads from there")
        removed = min(view.start, first) - state.position
        if removed > 0 and state.offset >= 0:
            metrics.LOST.inc(removed)
        if removed > 0:
            state.skip_hole(min(view.start, first), lost=state.offset >= 0)
        if first > state.position:
            state.skip_hole(first)


def _overlaps(state: PartitionState, records: Sequence[Any]) -> bool:
    """Whether the records before the state's position are those that were folded: a chunk that was delivered again."""
    return any(record.offset == state.position - 1 and state.recognises(record.value, record.timestamp) for record in records)
