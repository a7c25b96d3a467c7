"""The two records that a log is made of, in as few steps as they need: a new trace of a known arm, and the first rating of a trace.

Whatever else a record is, and whatever is wrong with it, is left to the general path in `stream.fold.fold`, with the state untouched.
What is taken here ends in the state that the general path would have made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from xxhash import xxh3_128_digest

from stream.errors import MalformedRecordError
from stream.fold.feedback import is_ahead
from stream.fold.index import KEY_BYTES, WAITING
from stream.fold.ratings import KIND_NUMBERS, Word, add_score, pack_ratings, rater_hash, score_of, take_score
from stream.fold.state import PartitionState
from stream.fold.arrivals import Arrival, add_arrivals
from stream.fold.traces import enter
from stream.reading.outcome import OUTCOMES
from stream.reading.record import (
    ARRAY_BYTES,
    COST_MAX_USD,
    DEPTH_MAX,
    LATENCY_MAX_S,
    MICRO,
    MILLI,
    NANO,
    TOKENS_MAX,
    TRACE_ID_MAX_CHARS,
    RawTrace,
    arm_drawn,
    class_of,
    decode_feedback,
    decode_trace,
    may_be_deep,
    read_feedback,
)
from stream.records import OVERFLOW, SCHEMA

NOT_READABLE = (ValueError, RecursionError)
"""What decoding raises; msgspec's errors are `ValueError`s, as those of Unicode are."""
SAFE_BYTES = ARRAY_BYTES * DEPTH_MAX
"""Up to here a record cannot be too deep."""


class FastPath:
    """Folds records whose key belongs to the partition, as far as they are of the two kinds. It serves one chunk: it holds on to the state's parts.

    Args:
        state: changed in place; the totals not before `settle`.
        classify: gives the class of a query.

    Attributes:
        takes: folds a record, or says no and changes nothing.
    """

    __slots__ = ("_arrived", "_totals", "takes")

    def __init__(self, state: PartitionState, classify: Callable[[str], str]) -> None:
        self._totals = state.totals
        self._arrived: defaultdict[int, list[Arrival]] = defaultdict(list)
        self.takes = _takes(state, _new_traces(state, classify, self._arrived), _first_ratings(state))

    def settle(self) -> None:
        """Add what has come to the totals; to be called before the minute changes, and at the end of the chunk."""
        for place, arrivals in self._arrived.items():
            add_arrivals(self._totals.sums((0, self._totals.minute), place), arrivals)
        self._arrived.clear()


def _takes(state: PartitionState, count: Callable[[RawTrace, bytes], bool], rate: Callable[[Any, bytes], bool]) -> Callable[[Any], bool]:
    max_bytes = state.spec.max_record_bytes

    def takes(record: Any) -> bool:
        value = record.value
        if value is None or len(value) > max_bytes or (len(value) > SAFE_BYTES and may_be_deep(value)):
            return False
        try:
            trace = decode_trace(value)
            key = trace.trace_id.encode()
        except NOT_READABLE:
            return False
        if key != record.key or trace.schema != SCHEMA or not 0 < len(trace.trace_id) <= TRACE_ID_MAX_CHARS:
            return False
        kind, hashed = trace.type, xxh3_128_digest(key)[:KEY_BYTES]
        if kind is None or kind == "trace":
            return count(trace, hashed)
        return kind == "feedback" and rate(record, hashed)

    return takes


def _new_traces(state: PartitionState, classify: Callable[[str], str], arrived: defaultdict[int, list[Arrival]]) -> Callable[[RawTrace, bytes], bool]:
    counters, slots, classes = state.counters, state.index.slots, state.totals.classes

    def count(trace: RawTrace, key: bytes) -> bool:
        if key in slots:
            return False
        try:
            query_class = trace.query_class or class_of(trace, classify)
            draws = None if trace.decision is None else arm_drawn(trace.decision)
        except MalformedRecordError:
            return False
        arms, arm = classes.get(query_class), (trace.model, trace.agent, trace.config_version, trace.adapter)
        cell = None if arms is None else arms.get(arm)  # type: ignore[call-overload]  # the arm that equals this tuple
        if cell is None or query_class == OVERFLOW or trace.model == OVERFLOW:
            return False
        cost_usd, latency_s, tokens, rating = trace.cost_usd, trace.total_latency_seconds, trace.total_tokens, trace.feedback
        if not (0.0 <= cost_usd <= COST_MAX_USD and 0.0 <= latency_s <= LATENCY_MAX_S and 0 <= tokens <= TOKENS_MAX and tokens == int(tokens)):
            return False
        outcome = OUTCOMES.get(trace.outcome, 0)
        inline = -1 if rating is None or not 0.0 <= rating <= 1.0 else int(rating * MICRO + 0.5)
        place = cell * 2 + (draws is not None and draws.allows(arm))
        arrived[place].append(
            (int(cost_usd * NANO + 0.5) if cost_usd else -1, int(latency_s * MILLI + 0.5) if latency_s else -1, int(tokens) if tokens else -1, outcome, inline)
        )
        enter(state, key, place, outcome, inline, None)
        counters.traces += 1
        return True

    return count


def _first_ratings(state: PartitionState) -> Callable[[Any, bytes], bool]:
    index, totals, counters = state.index, state.totals, state.counters

    def rate(record: Any, key: bytes) -> bool:
        slot = index.slots.get(key)
        if slot is None or index.places[slot] == WAITING or index.ratings[slot] is not None:
            return False
        try:
            feedback = read_feedback(decode_feedback(record.value))
        except (*NOT_READABLE, MalformedRecordError):
            return False
        span = totals.locate(index.minutes[slot])
        if span is None or is_ahead(feedback, max(record.timestamp, state.log_time_ms)):
            return False
        packed = pack_ratings({rater_hash(feedback.rater): Word(feedback.given_at_s, feedback.micro, KIND_NUMBERS[feedback.rater_kind])})
        sums = totals.sums(span, index.places[slot])
        take_score(sums, score_of(None, index.inlines[slot], index.outcomes[slot]))
        add_score(sums, score_of(packed, -1, 0))
        index.ratings[slot] = packed
        index.mark(slot)
        counters.feedback += 1
        return True

    return rate
