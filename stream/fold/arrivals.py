"""New traces: each takes its place in the join index at once; what they add to sums is gathered, and added bucket by bucket.

Sums are of integers, so that the order in which they are added to does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from operator import mul
from typing import Any

from stream.fold.ratings import add_score, score_of
from stream.fold.state import PartitionState
from stream.fold.totals import MICRO, Sum
from stream.fold.traces import add_trace, leave_unmatched
from stream.reading.chunk import Arrival
from stream.reading.outcome import Outcome

FEW = 4
"""Up to so many, one by one is cheaper."""
_QUANTITIES = (int(Sum.COST_KNOWN), int(Sum.LATENCY_KNOWN), int(Sum.TOKENS_KNOWN))
_COUNT, _SUCCESSES, _FAILURES, _PROGRAM, _OUTCOME = map(int, (Sum.COUNT, Sum.SUCCESSES, Sum.FAILURES, Sum.PROGRAM, Sum.OUTCOME))
_SUCCESS, _FAILURE = int(Outcome.SUCCESS), int(Outcome.FAILURE)


class Arrivals:
    """Counts plain traces. It serves one chunk: it holds on to the state's parts.

    Args:
        state: changed in place; its totals not before `settle`.

    Attributes:
        take: counts a trace that is new and of a cell that is known, given as the fields of a `PlainTrace`; else it says no and changes nothing.
    """

    __slots__ = ("_arrived", "_totals", "take")

    def __init__(self, state: PartitionState) -> None:
        self._totals = state.totals
        self._arrived: defaultdict[int, list[Arrival]] = defaultdict(list)
        self.take = _taking(state, self._arrived)

    def settle(self) -> None:
        """Add what has come to the totals: before the minute changes, and at the end of the chunk."""
        for place, arrivals in self._arrived.items():
            add_arrivals(self._totals.sums((0, self._totals.minute), place), arrivals)
        self._arrived.clear()


def _taking(state: PartitionState, arrived: defaultdict[int, list[Arrival]]) -> Callable[[tuple[Any, ...]], bool]:
    index, totals, counters = state.index, state.totals, state.counters
    blocks, cells, add = index.blocks, totals.by_names, index.add

    def take(plain: tuple[Any, ...]) -> bool:
        key, names, is_draw, arrival = plain
        cell = cells.get(names)
        if cell is None or key in blocks:
            return False
        if counters.waiting:
            leave_unmatched(state)
        place = cell * 2 + is_draw
        arrived[place].append(arrival)
        add(key, place, totals.minute, arrival[3], arrival[4], None)
        counters.traces += 1
        return True

    return take


def add_arrivals(sums: list[int], arrivals: Sequence[Arrival]) -> None:
    """Count traces in their bucket, with the scores that they bring along."""
    if len(arrivals) <= FEW:
        for cost_nano_usd, latency_ms, tokens, outcome, inline in arrivals:
            add_trace(sums, cost_nano_usd, latency_ms, tokens, outcome)
            add_score(sums, score_of(None, inline, outcome))
        return
    *quantities, outcomes, inlines = zip(*arrivals, strict=True)
    sums[_COUNT] += len(arrivals)
    for place, column in zip(_QUANTITIES, quantities, strict=True):
        known = [amount for amount in column if amount >= 0]
        sums[place] += len(known)
        sums[place + 1] += sum(known)
    sums[_SUCCESSES] += outcomes.count(_SUCCESS)
    sums[_FAILURES] += outcomes.count(_FAILURE)
    _add_scores(sums, outcomes, inlines)


def _add_scores(sums: list[int], outcomes: Sequence[int], inlines: Sequence[int]) -> None:
    rated = [inline for inline in inlines if inline >= 0]
    if rated:
        sums[_PROGRAM] += len(rated)
        sums[_PROGRAM + 1] += sum(rated)
        sums[_PROGRAM + 2] += sum(map(mul, rated, rated))
        outcomes = [outcome for outcome, inline in zip(outcomes, inlines, strict=True) if inline < 0]
    successes = outcomes.count(_SUCCESS)
    sums[_OUTCOME] += successes + outcomes.count(_FAILURE)
    sums[_OUTCOME + 1] += successes * MICRO
    sums[_OUTCOME + 2] += successes * MICRO * MICRO
