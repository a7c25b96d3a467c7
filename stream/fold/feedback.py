"""What raters and routers say of a trace, before it or after it: ratings and decisions, joined by its id."""

from __future__ import annotations

from stream.fold.index import NO_SCORE, WAITING
from stream.fold.pairs import DAY_MINUTES, last_minute
from stream.fold.ratings import KIND_NUMBERS, MAX_RATERS, Scores, Word, add_score, has_human, pack_ratings, rater_hash, score_of, scores_of, take_score, unpack_ratings
from stream.fold.silence import await_trace
from stream.fold.state import PartitionState
from stream.fold.traces import enter
from stream.reading.outcome import Outcome
from stream.reading.record import DecisionReading, FeedbackReading

FUTURE_MS = 600_000
"""How far ahead of its record's time feedback may be given: clocks differ by less, and beyond it a wrong one would win over all revisions."""


def is_ahead(feedback: FeedbackReading, now_ms: int) -> bool:
    """Whether feedback claims a time that has not come.

    Args:
        feedback: as read.
        now_ms: the later of the record's own time and the log's, which stays behind after days without a record.
    """
    return feedback.given_at_s * 1000 > now_ms + FUTURE_MS


def _waiting_slot(state: PartitionState, key: bytes) -> int:
    """Return the slot of the entry of a trace id; one that waits is made where there is none."""
    slot = state.index.find(key)
    if slot is None:
        state.counters.waiting += 1
        slot = enter(state, key, WAITING, Outcome.UNKNOWN, NO_SCORE, None)
    return slot


def apply_feedback(state: PartitionState, feedback: FeedbackReading, key: bytes) -> None:
    """Keep a rater's last word on a trace, and count it if the trace is there."""
    state.counters.feedback += 1
    slot = _waiting_slot(state, key)
    words = unpack_ratings(state.index.ratings[slot])
    rater, word = rater_hash(feedback.rater), Word(feedback.given_at_s, feedback.micro, KIND_NUMBERS[feedback.rater_kind])
    last = words.get(rater)
    if last is not None and word <= last:
        state.counters.stale_feedback += 1
    elif last is None and len(words) >= MAX_RATERS:
        state.counters.overflow_raters += 1
    else:
        words[rater] = word
        _rate(state, slot, pack_ratings(words))


def _rate(state: PartitionState, slot: int, ratings: bytes) -> None:
    """Replace the ratings of an entry, and its trace's score in its bucket."""
    index = state.index
    old, inline, outcome = index.ratings[slot], index.inlines[slot], index.outcomes[slot]
    index.ratings[slot] = ratings
    index.mark(slot)
    if index.places[slot] == WAITING or (slot in index.decisions and not outcome):
        return  # neither a trace nor a decision that has failed
    may_pair = slot not in index.decisions and (has_human(ratings) or has_human(old))  # silence is nobody's word
    is_paired = may_pair and _pair(state, index.minutes[slot], scores_of(old, inline, outcome), scores_of(ratings, inline, outcome))
    span = state.totals.locate(index.minutes[slot])
    if span is None:
        state.counters.late_feedback += 1
        return
    before, after = score_of(old, inline, outcome), score_of(ratings, inline, outcome)
    if after != before:
        sums = state.totals.sums(span, index.places[slot])
        take_score(sums, before)
        add_score(sums, after)
    elif is_paired:
        state.totals.touch(index.places[slot])


def _pair(state: PartitionState, minute: int, before: Scores, after: Scores) -> bool:
    """Count a trace anew among those that a person and another source have scored, while its day is kept; returns whether that may have changed anything."""
    if before == after or state.totals.locate(last_minute(minute // DAY_MINUTES)) is None:
        return False
    state.pairs.count(minute, before, -1)
    state.pairs.count(minute, after)
    return True


def apply_decision(state: PartitionState, decision: DecisionReading, key: bytes) -> None:
    """Keep a decision for its trace; the first one in the log counts, and one that comes after its trace changes nothing."""
    state.counters.decisions += 1
    index = state.index
    slot = _waiting_slot(state, key)
    if index.places[slot] == WAITING and slot not in index.decisions:
        await_trace(state, decision, slot)
