"""The state of one partition at one offset of its log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from stream.fold.spec import FoldSpec
from stream.records import PartitionStatistics


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


class PartitionState:
    """One partition at one offset.

    Attributes:
        number: of the partition.
        spec: of the fold.
        offset: logical offset of the last record folded, -1 at first; logical = physical + base.
        base: logical minus physical offset; changes only when the log was made anew.
        epoch: how often the log was made anew.
        epoch_start: first logical offset of this epoch.
        record_hash: of the record at `offset`, 0 where there is none (the log has a hole there).
        log_time_ms: the partition's time, -1 at first: never back, never forward by more than a day at one record.
        counters: what was counted on the way.
    """

    number: int
    spec: FoldSpec
    offset: int
    base: int
    epoch: int
    epoch_start: int
    record_hash: int
    log_time_ms: int
    counters: Counters

    def __init__(self, number: int, spec: FoldSpec) -> None:
        raise NotImplementedError

    @property
    def position(self) -> int:
        """Physical offset to read next."""
        raise NotImplementedError

    def recognises(self, value: bytes | None, timestamp_ms: int) -> bool:
        """Whether this is the record that was folded at `offset`; if not, the log was made anew."""
        raise NotImplementedError

    def skip_hole(self, to_physical: int, *, lost: bool = False) -> None:
        """Go on at a physical offset beyond `position`, the log having nothing in between.

        Args:
            to_physical: offset of the next record that there is.
            lost: whether retention removed what stood there (else it is counted as a hole).
        """
        raise NotImplementedError

    def take_changed_classes(self) -> set[str]:
        """Return the classes whose totals changed since the last call; of one that left, `statistics` has no arms.

        A recovered state starts with none: whoever takes over publishes `all_classes` first.
        """
        raise NotImplementedError

    def statistics(self, query_class: str) -> PartitionStatistics:
        """Return the running total of one class, as it goes on `eddy.statistics`."""
        raise NotImplementedError

    def all_classes(self) -> Iterable[str]:
        """Return the classes that have totals."""
        raise NotImplementedError

    def canonical(self) -> dict[str, Any]:
        """Return the whole state as plain data, equal for equal states however they came to be."""
        raise NotImplementedError
