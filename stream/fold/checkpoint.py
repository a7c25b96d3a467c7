"""Checkpoints: a partition's state as immutable records of a changelog; `stream.fold.recovery` finds it again.

A checkpoint holds, as they are at its end, the buckets and rows that changed since its base; a full one holds all buckets.
Nothing is ever overwritten: a key belongs to one checkpoint alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from stream.fold.changelog import Changelog, Checkpoint
from stream.fold.index import VACANT, JoinIndex
from stream.fold.parts import KEY, PART_BUCKETS, PART_ROWS, Head, Part, PartValue, changed_buckets, encode_part, pack_buckets, pack_rows, split
from stream.fold.recovery import checkpoint_end, recover
from stream.fold.state import PartitionState

__all__ = ["Changelog", "Checkpoint", "Part", "checkpoint_end", "recover", "write_checkpoint"]


def write_checkpoint(state: PartitionState, changelog: Changelog, *, checkpoint_id: bytes, full: bool) -> Checkpoint:
    """Write down what changed since the last checkpoint (`changelog.durable`), or all.

    The last checkpoint must have been acknowledged: one is under way at a time.

    Args:
        state: what it remembers as changed is cleared.
        changelog: of the same partition; says which older parts a full one replaces.
        checkpoint_id: 16 bytes, never used for another checkpoint.
        full: whether to write all buckets and merge small old index parts.
    """
    runs, moved = _rows_to_write(state.index, changelog if full else None)
    bodies: list[_Body] = [_Body(buckets=body) for body in _bucket_bodies(state, full=full)]
    bodies += [_Body(seqs, body) for run in runs for seqs, body in split(run, PART_ROWS, partial(pack_rows, state.index, state.totals))]
    head = _head(state, changelog, full=full, parts=len(bodies))
    parts = [_part(state, checkpoint_id, number, PartValue(head=head, index=body.rows, buckets=body.buckets)) for number, body in enumerate(bodies)]
    _forget_changes(state)
    return Checkpoint(
        parts=tuple(parts),
        base=head.base,
        end=head.end,
        full=full,
        epoch=state.epoch,
        record_hash=state.record_hash,
        oldest=state.index.oldest,
        rows=tuple(body.seqs for body in bodies),
        moved=tuple(moved),
    )


class _Body(NamedTuple):
    """What one part is to hold."""

    seqs: Sequence[int] = ()
    rows: bytes = b""
    buckets: bytes = b""


def _head(state: PartitionState, changelog: Changelog, *, full: bool, parts: int) -> Head:
    return Head(
        base=changelog.durable,
        end=state.offset,
        full=full,
        parts=parts,
        rows=len(state.index),
        epoch=state.epoch,
        epoch_start=state.epoch_start,
        log_base=state.base,
        record_hash=state.record_hash,
        log_time_ms=state.log_time_ms,
        seq=state.index.seq,
        counters=state.counters,
        left=sorted(state.totals.left),
        pairs=state.pairs.pack(),
        marks=changelog.marks if full and changelog.epoch == state.epoch else [],
    )


def _part(state: PartitionState, checkpoint_id: bytes, number: int, value: PartValue) -> Part:
    return Part(KEY.pack(state.number, state.offset, checkpoint_id, number), encode_part(value))


def _forget_changes(state: PartitionState) -> None:
    state.index.fresh_from = state.index.seq
    state.index.changed.clear()
    state.totals.left.clear()


def _bucket_bodies(state: PartitionState, *, full: bool) -> Iterator[bytes]:
    """Pack the buckets; one body at least, since a checkpoint's first part carries its head."""
    pack = partial(pack_buckets, state.totals)
    changes = changed_buckets(state.totals, full=full)
    yield from [body for _, body in split(changes, PART_BUCKETS, pack)] or [pack(())]


def _rows_to_write(index: JoinIndex, merging: Changelog | None) -> tuple[list[Sequence[int]], list[int]]:
    """Return runs of numbers of the rows to write, and the numbers of those that have moved.

    Young rows are one dense run; changed old ones and, in a full checkpoint, those of small old parts are another.
    """
    young = range(max(index.fresh_from, index.oldest), index.seq)
    old = {index.seq_of(slot) for slot in index.changed}
    if merging is not None:
        old |= merging.rows_to_merge(index.oldest)
    old = {seq for seq in old if seq < young.start}
    moved = [seq for seq in old if index.places[seq % index.horizon] == VACANT]
    return [run for run in (young, sorted(old.difference(moved))) if run], moved
