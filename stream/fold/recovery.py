"""Recovery: the newest state that a changelog holds, whoever wrote it.

1. The newest complete full checkpoint.
2. Then the complete deltas that end after it, in order of (end, base); one whose base is beyond the state is a gap.
3. Of each row, in a complete checkpoint or not, the copy with the greatest end at or below the state's offset.
4. As many rows as the last checkpoint's header says, else there is a gap.

On a gap an older state must not be taken, since what it needs may have been removed: the changelog is read again.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stream.errors import CheckpointGapError
from stream.fold.buckets import Span, Totals
from stream.fold.changelog import MARKS, Changelog
from stream.fold.index import GONE, NO_KEY, NO_SCORE, VACANT, JoinIndex
from stream.fold.parts import KEY, Head, Mark, PartValue, Rows, decode_buckets, decode_part, decode_rows, key_bytes
from stream.fold.silence import pending_slots
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.reading.arm import FullArm

RawBuckets: TypeAlias = dict[Span, dict[tuple[str, FullArm, int], list[int]]]


@dataclass(frozen=True, slots=True)
class _Stored:
    """A checkpoint as far as it was found."""

    head: Head
    parts: tuple[PartValue, ...]

    @property
    def is_complete(self) -> bool:
        return len(self.parts) == self.head.parts


def recover(parts: Mapping[bytes, bytes], *, number: int, spec: FoldSpec) -> tuple[PartitionState, Changelog]:
    """Find the newest state that a changelog holds; an empty changelog gives a fresh state.

    Args:
        parts: the changelog of this partition: the last value of every key that is not a tombstone.
        number: of the partition.
        spec: of the fold.

    Raises:
        CheckpointGapError: something that the newest state stands on is missing; read the changelog again.
    """
    values = {key: decode_part(value) for key, value in parts.items()}
    chain = _chain(values)
    state = PartitionState(number, spec)
    rows = {key: decode_rows(value.index) for key, value in values.items() if value.index}
    if chain:
        _restore_head(state, chain[-1].head)
        state.totals.restore(state.log_time_ms // 60_000, _buckets_of(chain))
        _restore_rows(state, [(values[key].head.end, rows[key]) for key in rows if _is_ours(values[key].head, state)])
        _check_rows(state, chain[-1].head.rows)
    changelog = Changelog(horizon=spec.horizon, durable=state.offset, deltas=max(0, len(chain) - 1), epoch=state.epoch)
    for key, value in values.items():
        changelog.know(key, value.head.end, rows[key].seqs if key in rows else ())
    changelog.marks = _marks(state, [value.head for value in values.values()])
    changelog.know_moved(state.index.seq_of(slot) for slot, place in enumerate(state.index.places) if place == VACANT)
    return state, changelog


def checkpoint_end(parts: Mapping[bytes, bytes]) -> int | None:
    """Return the logical end of the newest recoverable checkpoint, None where there is none.

    Raises:
        CheckpointGapError: as `recover`, for want of a base; rows are not counted.
    """
    chain = _chain({key: decode_part(value) for key, value in parts.items()})
    return chain[-1].head.end if chain else None


# ---- which checkpoints


def _chain(values: Mapping[bytes, PartValue]) -> list[_Stored]:
    """Return the checkpoints to apply, in order (steps 1 and 2)."""
    complete = [stored for stored in _stored(values) if stored.is_complete]
    newest = max((stored for stored in complete if stored.head.full), key=lambda stored: (stored.head.epoch, stored.head.end), default=None)
    chain = [newest] if newest else []
    end, numbering = (newest.head.end, _numbering(newest.head)) if newest else (-1, (0, 0))
    for stored in sorted(complete, key=lambda stored: (stored.head.end, stored.head.base)):
        if stored.head.full or _numbering(stored.head) != numbering or stored.head.end <= end:
            continue
        if not _stands_on(stored.head.base, end):
            raise CheckpointGapError(
                f"a checkpoint up to offset {stored.head.end} stands on offset {stored.head.base}, but the newest state found before it ends at {end};"
                " what lies between was removed while the changelog was read: read it again"
            )
        chain.append(stored)
        end = stored.head.end
    return chain


def _stored(values: Mapping[bytes, PartValue]) -> list[_Stored]:
    by_checkpoint: dict[tuple[int, bytes], list[PartValue]] = defaultdict(list)
    for key, value in values.items():
        _, end, checkpoint_id, _ = KEY.unpack(key)
        by_checkpoint[end, checkpoint_id].append(value)
    return [_Stored(parts[0].head, tuple(parts)) for parts in by_checkpoint.values()]


def _stands_on(base: int, end: int) -> bool:
    return base <= end


def _numbering(head: Head) -> tuple[int, int]:
    """What two checkpoints must share for their offsets to mean the same records: owners that begin an epoch at different offsets number it differently."""
    return head.epoch, head.epoch_start


def _marks(state: PartitionState, heads: Iterable[Head]) -> list[Mark]:
    found = {mark for head in heads if _numbering(head) == (state.epoch, state.epoch_start) for mark in (*head.marks, (head.end, head.record_hash))}
    return sorted((end, hashed) for end, hashed in found if hashed and end <= state.offset)[-MARKS:]


def _is_ours(head: Head, state: PartitionState) -> bool:
    """Whether a part's rows are those of the state's log, at or below its offset."""
    return head.end <= state.offset and (_numbering(head) == (state.epoch, state.epoch_start) or (head.epoch < state.epoch and head.end < state.epoch_start))


# ---- head and buckets


def _restore_head(state: PartitionState, head: Head) -> None:
    state.offset, state.base = head.end, head.log_base
    state.epoch, state.epoch_start = head.epoch, head.epoch_start
    state.record_hash, state.log_time_ms = head.record_hash, head.log_time_ms
    state.counters = head.counters
    state.pairs.restore(head.pairs)
    state.index.seq = state.index.fresh_from = head.seq


def _buckets_of(chain: Sequence[_Stored]) -> RawBuckets:
    found: RawBuckets = {}
    for stored in chain:
        for span in stored.head.left:
            found.pop(span, None)
        for part in stored.parts:
            if part.buckets:
                _take_buckets(found, part.buckets)
    return found


def _take_buckets(found: RawBuckets, packed: bytes) -> None:
    body = decode_buckets(packed)
    for span in body.spans:
        there = found.setdefault((span.level, span.start), {})
        for place, sums in zip(span.places, span.sums, strict=True):
            there[(*body.cells[place >> 1], place & 1)] = sums


# ---- rows


def _restore_rows(state: PartitionState, parts: list[tuple[int, Rows]]) -> None:
    """Fill the index's columns from rows, those with a lower end first (step 3)."""
    index = state.index
    _make_columns(index)
    for _, rows in sorted(parts, key=lambda part: part[0]):
        _take_rows(index, state.totals, rows)
    index.know_keys()
    if len(index) != len(index.keys) - index.places.count(VACANT):
        _vacate_moved(index)
    index.decisions = {slot: decided for slot, decided in index.decisions.items() if index.places[slot] != VACANT}
    index.pending.update(dict.fromkeys(pending_slots(state)))


def _make_columns(index: JoinIndex) -> None:
    size = min(index.seq, index.horizon)
    index.keys = [NO_KEY] * size
    index.places = array("I", [VACANT]) * size
    index.minutes = array("I", [0]) * size
    index.outcomes = array("B", [0]) * size
    index.inlines = array("i", [NO_SCORE]) * size
    index.ratings = [None] * size


def _take_rows(index: JoinIndex, totals: Totals, rows: Rows) -> None:
    columns, seqs = _Columns(rows, totals), rows.seqs
    for at, seq, length in _runs(seqs, index):
        columns.copy(index, slice(at, at + length), seq % index.horizon)
    for at, decided in rows.decisions.items():
        if seqs[at] >= index.oldest:
            index.decisions[seqs[at] % index.horizon] = decided


def _runs(seqs: Sequence[int], index: JoinIndex) -> Iterator[tuple[int, int, int]]:
    """Cut numbers into runs without a hole that lie in the horizon and in one turn of the ring: (place in the part, first number, length)."""
    for start, end in [(0, len(seqs))] if isinstance(seqs, range) else _dense(seqs):
        at = start + min(end - start, max(0, index.oldest - seqs[start]))
        while at < end:
            length = min(end - at, index.horizon - seqs[at] % index.horizon)
            yield at, seqs[at], length
            at += length


def _dense(seqs: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for at in range(1, len(seqs) + 1):
        if at == len(seqs) or seqs[at] != seqs[at - 1] + 1:
            yield start, at
            start = at


class _Columns:
    """The columns of a part, its cells renamed to those of the recovered totals."""

    __slots__ = ("inlines", "keys", "minutes", "outcomes", "places", "ratings")

    def __init__(self, rows: Rows, totals: Totals) -> None:
        self.keys = key_bytes(rows)
        self.minutes, self.outcomes, self.inlines = array("I", rows.minutes), array("B", rows.outcomes), array("i", rows.inlines)
        self.ratings = rows.ratings
        places = array("I", rows.places)
        renamed = {place: _rename(place, rows, totals) for place in set(places)}
        self.places = array("I", map(renamed.__getitem__, places))

    def copy(self, index: JoinIndex, run: slice, slot: int) -> None:
        """Copy a run of rows into the index's columns, from a slot on."""
        target = slice(slot, slot + run.stop - run.start)
        index.keys[target] = self.keys[run]
        index.places[target] = self.places[run]
        index.minutes[target] = self.minutes[run]
        index.outcomes[target] = self.outcomes[run]
        index.inlines[target] = self.inlines[run]
        index.ratings[target] = self.ratings[run]


def _rename(place: int, rows: Rows, totals: Totals) -> int:
    if place > GONE:
        return place
    query_class, arm = rows.cells.get(place >> 1, ("", None))
    number = totals.classes.get(query_class, {}).get(arm) if arm else None
    return GONE if number is None else number * 2 + (place & 1)


def _vacate_moved(index: JoinIndex) -> None:
    """Take out rows whose entry has moved to the young end: their key stands there again."""
    youngest = {index.keys[slot]: slot for slot in index.occupied()}
    for slot in index.occupied():
        if youngest[index.keys[slot]] != slot:
            index.vacate(slot)


def _check_rows(state: PartitionState, rows: int) -> None:
    if len(state.index) != rows:
        raise CheckpointGapError(
            f"the join index of partition {state.number} at offset {state.offset} has {rows} entries, but the changelog holds {len(state.index)} of them;"
            " some were removed while it was read: read it again"
        )
