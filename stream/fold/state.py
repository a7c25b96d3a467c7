"""The state of one partition at one offset of its log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import xxhash

from stream.fold.buckets import Totals
from stream.fold.index import WAITING, JoinIndex
from stream.fold.pairs import Pairs
from stream.fold.ratings import unpack_ratings
from stream.fold.spec import FoldSpec
from stream.reading.reward import reward_function
from stream.records import Arm, PartitionStatistics


class Counters(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """What has been counted since the log's start; each is a pure function of the log up to the state's offset."""

    records: int = 0
    """Records folded, refused and misplaced ones included."""
    traces: int = 0
    """Traces counted in the totals, each once."""
    duplicates: int = 0
    """Traces whose id was in the index already."""
    feedback: int = 0
    """Feedback records accepted, copies and outdated ones included."""
    stale_feedback: int = 0
    """Feedback that changed nothing: a copy, or older than the rater's last word."""
    late_feedback: int = 0
    """Feedback on a trace whose bucket has aged out of the totals."""
    waiting: int = 0
    """Entries that wait for their trace now (feedback or a decision came first); goes down too."""
    unmatched_feedback: int = 0
    """Entries with feedback that left the horizon and never met their trace."""
    unmatched_decisions: int = 0
    """Entries with a decision that left the horizon and never met their trace."""
    decisions: int = 0
    silent_decisions: int = 0
    """Decisions whose trace had not come when their deadline passed."""
    late_traces: int = 0
    """Traces that came for one of these; each is counted, and what its decision counted as is taken out."""
    forgets: int = 0
    refused: int = 0
    misplaced: int = 0
    overflow_classes: int = 0
    """Traces counted under the overflow class, since the cap on classes was reached."""
    overflow_arms: int = 0
    """Traces counted under the overflow arm of their class."""
    overflow_raters: int = 0
    """Feedback ignored since its trace had as many raters as are kept."""
    holes: int = 0
    """Offsets at which the log has no record (transaction markers)."""
    lost: int = 0
    """Offsets that retention had removed before they were folded."""
    epochs: int = 0
    """Times the log was made anew."""
    reward_faults: int = 0
    """Traces on which the reward function raised, or answered no number in [0, 1]: their reward is unknown."""


MINUTE_MS = 60_000
LOG_TIME_STEP_MS = 86_400_000
"""The partition's time goes forward by no more at one record: a date of 2100 in a producer's stamp then does little."""
LOG_TIME_MAX_MS = 253_402_300_799_999
"""End of the year 9999; its minute still fits 32 bits."""


def record_hash(value: bytes | None, timestamp_ms: int) -> int:
    """Return the 64-bit hash by which a record of the log is known again; never 0."""
    return xxhash.xxh3_64_intdigest(value or b"", seed=timestamp_ms & 0xFFFFFFFFFFFFFFFF) or 1


class PartitionState:
    """One partition at one offset.

    Raises:
        SettingsError: the reward that the spec names is not installed.

    Attributes:
        number: of the partition.
        spec: of the fold.
        reward: the function that its spec names, None where that is quality.
        offset: logical offset of the last record folded, -1 at first; logical = physical + base.
        base: logical minus physical offset; changes only when the log was made anew.
        epoch: how often the log was made anew.
        epoch_start: first logical offset of this epoch.
        record_hash: of the record at `offset`, 0 where there is none (the log has a hole there).
        log_time_ms: the partition's time, -1 at first: never back, never forward by more than a day at one record.
        counters: what was counted on the way.
        totals: sums by class, arm and time.
        pairs: sums over traces that a person and another source have both scored.
        index: the last entries, by trace id.
    """

    __slots__ = ("base", "counters", "epoch", "epoch_start", "index", "log_time_ms", "number", "offset", "pairs", "record_hash", "reward", "spec", "totals")

    def __init__(self, number: int, spec: FoldSpec) -> None:
        self.number = number
        self.spec = spec
        self.reward = reward_function(spec.reward, spec.reward_without)
        self.offset = -1
        self.base = 0
        self.epoch = 0
        self.epoch_start = 0
        self.record_hash = 0
        self.log_time_ms = -1
        self.counters = Counters()
        self.totals = Totals(spec)
        self.pairs = Pairs()
        self.index = JoinIndex(spec)

    @property
    def position(self) -> int:
        """Physical offset to read next."""
        return self.offset + 1 - self.base

    def recognises(self, value: bytes | None, timestamp_ms: int) -> bool:
        """Whether this is the record that was folded at `offset`; if not, the log was made anew."""
        return self.record_hash in (0, record_hash(value, timestamp_ms))

    def skip_hole(self, to_physical: int, *, lost: bool = False) -> None:
        """Go on at a physical offset beyond `position`, the log having nothing in between.

        Args:
            to_physical: offset of the next record that there is.
            lost: whether retention removed what stood there (else it is counted as a hole).
        """
        skipped = to_physical - self.position
        if skipped <= 0:
            return
        if lost:
            self.counters.lost += skipped
        else:
            self.counters.holes += skipped
        self.offset += skipped
        self.record_hash = 0

    def advance_time(self, timestamp_ms: int) -> None:
        """Let the partition's time go on to that of a record, as far as it may."""
        now, furthest = max(timestamp_ms, self.log_time_ms, 0), self.log_time_ms + LOG_TIME_STEP_MS
        if now > furthest and self.log_time_ms >= 0:
            now = furthest
        self.log_time_ms = now if now < LOG_TIME_MAX_MS else LOG_TIME_MAX_MS
        minute = self.log_time_ms // MINUTE_MS
        if minute != self.totals.minute:
            self.totals.advance(minute)
            if self.pairs.days:
                self.pairs.leave(lambda last: self.totals.locate(last) is not None)

    def take_changed_classes(self) -> set[str]:
        """Return the classes whose totals changed since the last call; of one that left, `statistics` has no arms.

        A recovered state starts with none: whoever takes over publishes `all_classes` first.
        """
        changed, self.totals.changed = self.totals.changed, set()
        return changed

    def statistics(self, query_class: str) -> PartitionStatistics:
        """Return the running total of one class, as it goes on `eddy.statistics`."""
        return PartitionStatistics(
            fold=self.spec.id,
            partition=self.number,
            offset=self.offset,
            log_time_ms=self.log_time_ms,
            query_class=query_class,
            arms=self.totals.statistics(query_class),
            pairs=self.pairs.rows(),
        )

    def all_classes(self) -> Iterable[str]:
        """Return the classes that have totals."""
        return tuple(self.totals.classes)

    def canonical(self) -> dict[str, Any]:
        """Return the whole state as plain data, equal for equal states however they came to be, before and after JSON.

        Its keys: `number`, `offset`, `base`, `epoch`, `epoch_start`, `record_hash`, `log_time_ms`, `seq`; `counters` by
        name; `totals`, `{class: {arm: {"width in seconds/start in epoch seconds/drawn": sums}}}`; `pairs`, `{"start in epoch seconds/source": sums}`; `index`, its entries
        from old to young, `[number, key in hex, trace, ratings, decision]`: the trace is null while one waits for it, else
        `[[class, arm, drawn] or null if dropped, minute, outcome, inline micro-score]`; ratings are
        `[hash of the rater, given_at, micro-score, kind]`; the decision is null, or
        `[arm, drawn, log time in ms, [class, arm, drawn] or null if it is not counted, whether it counts as a failure]`.
        """
        return {
            **{name: getattr(self, name) for name in ("number", "offset", "base", "epoch", "epoch_start", "record_hash", "log_time_ms")},
            "seq": self.index.seq,
            "counters": msgspec.structs.asdict(self.counters),
            "totals": {query_class: arms for query_class in sorted(self.totals.classes) if (arms := self._canonical_arms(query_class))},
            "pairs": {"/".join(map(str, row[:2])): list(row[2:]) for row in self.pairs.rows()},
            "index": [self._canonical_entry(slot) for slot in self.index.occupied()],
        }

    def _canonical_arms(self, query_class: str) -> dict[str, Any]:
        return {arm.arm.id: {"/".join(map(str, row[:3])): list(row[3:]) for row in arm.buckets} for arm in self.totals.statistics(query_class)}

    def _canonical_entry(self, slot: int) -> list[Any]:
        index = self.index
        trace = None if index.is_waiting(slot) else [self._canonical_cell(slot), index.minutes[slot], index.outcomes[slot], index.inlines[slot]]
        ratings = sorted([rater, *word] for rater, word in unpack_ratings(index.ratings[slot]).items())
        return [index.seq_of(slot), index.keys[slot].hex(), trace, ratings, self._canonical_decision(slot)]

    def _canonical_decision(self, slot: int) -> list[Any] | None:
        index, decided = self.index, self.index.decisions.get(slot)
        if decided is None:
            return None
        return [list(decided.arm), decided.drawn, decided.at_ms, self._canonical_cell(slot), index.outcomes[slot] != 0]

    def _canonical_cell(self, slot: int) -> list[Any] | None:
        index, totals = self.index, self.totals
        if index.places[slot] == WAITING or totals.locate(index.minutes[slot]) is None:
            return None
        cell = totals.cells[index.places[slot] >> 1]
        return [cell.query_class, Arm(**cell.arm._asdict()).id, index.places[slot] & 1]
