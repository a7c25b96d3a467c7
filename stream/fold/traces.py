"""What a trace does to a partition: it is counted in its bucket and remembered in the join index."""

from __future__ import annotations

from stream.fold.ratings import add_score, score_of, scores_of
from stream.fold.silence import leave_undecided, take_out
from stream.fold.state import PartitionState
from stream.fold.totals import Sum
from stream.reading.arm import FullArm
from stream.reading.outcome import Outcome
from stream.reading.record import TraceReading
from stream.reading.reward import FAULTY

# Plain integers, since a member of an IntEnum is converted at every use as an index.
_COUNT, _COST_KNOWN, _COST_NANO_USD, _LATENCY_KNOWN, _LATENCY_MS, _TOKENS_KNOWN, _TOKENS, _SUCCESSES, _FAILURES = map(int, list(Sum)[:9])
_SUCCESS, _REWARD = int(Outcome.SUCCESS), int(Sum.REWARD)
_NO_ARMS: dict[FullArm, int] = {}


def apply_trace(state: PartitionState, trace: TraceReading, key: bytes) -> None:
    """Count a trace, with what waited for it; a second one of its id is a duplicate."""
    index = state.index
    slot = index.find(key)
    if slot is None:
        _count(state, trace, key, None, trace.drawn or False)
    elif not index.is_waiting(slot):
        state.counters.duplicates += 1
    else:
        _match(state, trace, key, slot)


def _match(state: PartitionState, trace: TraceReading, key: bytes, slot: int) -> None:
    """Count a trace for which something waited: its entry moves to the young end."""
    index = state.index
    ratings, decision = index.ratings[slot], index.decisions.get(slot)
    lent = False
    if decision is not None:
        lent = decision.drawn and decision.arm.allows(trace.arm)
        take_out(state, slot)
    index.clear(slot)
    index.mark(slot)
    state.counters.waiting -= 1
    _count(state, trace, key, ratings, lent if trace.drawn is None else trace.drawn)


def _count(state: PartitionState, trace: TraceReading, key: bytes, ratings: bytes | None, drawn: bool) -> None:
    """Add a trace to its bucket and to the index."""
    totals = state.totals
    cell = totals.classes.get(trace.query_class, _NO_ARMS).get(trace.arm)
    place = (totals.cell(*_capped(state, trace.query_class, trace.arm)) if cell is None else cell) * 2 + drawn
    sums = totals.sums((0, totals.minute), place)
    add_trace(sums, trace.cost_nano_usd, trace.latency_ms, trace.tokens, trace.outcome)
    add_score(sums, score_of(ratings, trace.inline_micro, trace.outcome))
    if ratings is not None:
        state.pairs.count(totals.minute, scores_of(ratings, trace.inline_micro, trace.outcome))
    if trace.reward_micro >= 0:
        add_score(sums, (_REWARD, trace.reward_micro))
    elif trace.reward_micro == FAULTY:
        state.counters.reward_faults += 1
    enter(state, key, place, trace.outcome, trace.inline_micro, ratings)
    state.counters.traces += 1


def _capped(state: PartitionState, query_class: str, arm: FullArm) -> tuple[str, FullArm]:
    """Return the class and arm under which a new arm is counted: its own, or the overflow's where the cap is reached."""
    kept_class, kept_arm = state.totals.capped(query_class, arm)
    state.counters.overflow_classes += kept_class != query_class
    state.counters.overflow_arms += kept_arm != arm
    return kept_class, kept_arm


def add_trace(sums: list[int], cost_nano_usd: int, latency_ms: int, tokens: int, outcome: int) -> None:
    """Count a trace; a quantity of -1 is unknown."""
    sums[_COUNT] += 1
    if cost_nano_usd >= 0:
        sums[_COST_KNOWN] += 1
        sums[_COST_NANO_USD] += cost_nano_usd
    if latency_ms >= 0:
        sums[_LATENCY_KNOWN] += 1
        sums[_LATENCY_MS] += latency_ms
    if tokens >= 0:
        sums[_TOKENS_KNOWN] += 1
        sums[_TOKENS] += tokens
    if outcome:
        sums[_SUCCESSES if outcome == _SUCCESS else _FAILURES] += 1


def enter(state: PartitionState, key: bytes, place: int, outcome: int, inline_micro: int, ratings: bytes | None) -> int:
    """Add an entry to the index; the oldest one leaves if there is no room."""
    leave_unmatched(state)
    return state.index.add(key, place, state.totals.minute, outcome, inline_micro, ratings)


def leave_unmatched(state: PartitionState) -> None:
    """Count the oldest entry as unmatched if it still waits and the next one takes its slot."""
    index, counters = state.index, state.counters
    slot = index.seq % index.horizon
    if slot >= len(index.places) or not index.is_waiting(slot):
        return
    counters.waiting -= 1
    counters.unmatched_feedback += index.ratings[slot] is not None
    if slot in index.decisions:
        counters.unmatched_decisions += 1
        leave_undecided(state, slot)
