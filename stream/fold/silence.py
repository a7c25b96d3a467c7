"""Decisions that wait for their trace: what they count as until it comes, and once it is late.

1. A decision is in its arm's bucket of its own minute, as unresolved.
2. Its trace comes: the decision leaves the bucket, and the trace is counted wherever it belongs.
3. Its deadline passes before that: it is unresolved no more. Where silence is a failure it stays in the bucket as a trace
   without cost, latency and tokens that failed, and it may be rated like one; step 2 takes it out again all the same.
4. It leaves the horizon: what it counts as then, it counts for good; an unresolved one leaves the bucket.

The bucket is the one that holds the decision's minute by then; once that has been dropped there is nothing left to change.
Time passes with records alone. All decisions have the same time, and a partition's time never goes back, so that they fall
due in the order in which they came. One that names no class waits too, but counts as nothing.
"""

from __future__ import annotations

from stream.fold.index import NO_SCORE, WAITING, Decided
from stream.fold.ratings import add_score, score_of, take_score
from stream.fold.state import PartitionState
from stream.fold.totals import Sum
from stream.reading.outcome import Outcome
from stream.reading.record import DecisionReading

_COUNT, _FAILURES, _UNRESOLVED = int(Sum.COUNT), int(Sum.FAILURES), int(Sum.UNRESOLVED)
_FAILURE, _UNKNOWN = int(Outcome.FAILURE), int(Outcome.UNKNOWN)
_NO_REWARD = int(Sum.REWARD), 0
"""What silence earns where the reward is another than quality."""


def await_trace(state: PartitionState, decision: DecisionReading, slot: int) -> None:
    """Let a decision wait for its trace in an entry that has neither (step 1)."""
    index, totals = state.index, state.totals
    index.decisions[slot] = Decided(decision.arm, decision.drawn, state.log_time_ms)
    index.mark(slot)
    if decision.query_class:
        place = totals.cell(*totals.capped(decision.query_class, decision.arm)) * 2 + decision.drawn
        totals.sums((0, totals.minute), place)[_UNRESOLVED] += 1
        index.places[slot], index.minutes[slot] = place, totals.minute
        index.pending[slot] = None


def fall_silent(state: PartitionState) -> None:
    """Take the decisions whose deadline lies before the partition's time (step 3)."""
    index, due_ms = state.index, _due_ms(state)
    while index.pending:
        slot = next(iter(index.pending))
        if index.decisions[slot].at_ms >= due_ms:
            return
        _resolve(state, slot)
        state.counters.silent_decisions += 1
        if state.spec.silence == "failure":
            index.outcomes[slot] = _FAILURE
            index.mark(slot)
            _add_failure(state, slot)


def take_out(state: PartitionState, slot: int) -> None:
    """Take what a decision counts as out of the totals, since its trace has come (step 2)."""
    index = state.index
    if slot in index.pending:
        _resolve(state, slot)
    elif index.places[slot] != WAITING:
        state.counters.late_traces += 1
        if index.outcomes[slot] != _UNKNOWN:
            _take_failure(state, slot)


def leave_undecided(state: PartitionState, slot: int) -> None:
    """Drop a decision that leaves the horizon (step 4)."""
    if slot in state.index.pending:
        _resolve(state, slot)
    state.index.drop_decision(slot)


def pending_slots(state: PartitionState) -> list[int]:
    """Find the decisions whose deadline has not passed, in the order in which it will."""
    index, due_ms = state.index, _due_ms(state)
    pending = [slot for slot, decided in index.decisions.items() if index.places[slot] != WAITING and decided.at_ms >= due_ms]
    return sorted(pending, key=lambda slot: index.decisions[slot].at_ms)


def _due_ms(state: PartitionState) -> int:
    """Decisions before this time are silent."""
    return state.log_time_ms - state.spec.silence_s * 1000


def _resolve(state: PartitionState, slot: int) -> None:
    del state.index.pending[slot]
    if (sums := _sums(state, slot)) is not None:
        sums[_UNRESOLVED] -= 1


def _sums(state: PartitionState, slot: int) -> list[int] | None:
    """Return the sums of the bucket that holds an entry now, None where it has been dropped."""
    span = state.totals.locate(state.index.minutes[slot])
    return None if span is None else state.totals.sums(span, state.index.places[slot])


def _add_failure(state: PartitionState, slot: int) -> None:
    if (sums := _sums(state, slot)) is not None:
        sums[_COUNT] += 1
        sums[_FAILURES] += 1
        add_score(sums, score_of(state.index.ratings[slot], NO_SCORE, _FAILURE))
        if state.reward is not None:
            add_score(sums, _NO_REWARD)


def _take_failure(state: PartitionState, slot: int) -> None:
    if (sums := _sums(state, slot)) is not None:
        sums[_COUNT] -= 1
        sums[_FAILURES] -= 1
        take_score(sums, score_of(state.index.ratings[slot], NO_SCORE, _FAILURE))
        if state.reward is not None:
            take_score(sums, _NO_REWARD)
