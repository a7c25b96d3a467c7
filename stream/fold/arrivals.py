"""New traces: each takes its place in the join index at once; what they add to sums waits in `Totals.pending` for company."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stream.fold.state import PartitionState
from stream.fold.traces import leave_unmatched


def taking(state: PartitionState) -> Callable[[tuple[Any, ...]], bool]:
    """Return what counts the plain traces of one chunk; it holds on to the state's parts.

    Given the fields of a `PlainTrace` it counts a trace that is new and of a cell that is known; else it says no and changes nothing.
    """
    index, totals, counters = state.index, state.totals, state.counters
    blocks, cells, add, pending, changed = index.blocks, totals.by_names, index.add, totals.pending, totals.changed

    def take(plain: tuple[Any, ...]) -> bool:
        key, names, is_draw, arrival = plain
        cell = cells.get(names)
        if cell is None or key in blocks:
            return False
        if counters.waiting:
            leave_unmatched(state)
        place = cell * 2 + is_draw
        pending[place].extend(arrival)
        changed.add(names[0])
        add(key, place, totals.minute, arrival[3], arrival[4], None)
        counters.traces += 1
        return True

    return take
