"""What the owner of a partition knows to stand in its changelog, and which of it may go.

A part may go once nothing that can be recovered needs it. Buckets: once a later full checkpoint is acknowledged. Rows:
once each of them has left the horizon or has been written again *by this owner*. A copy that somebody else wrote does
not count: its writer may be a zombie that counts on the copy which we are about to remove.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream.fold.parts import Mark, Part
from stream.fold.state import PartitionState

FULL_EVERY = 20
"""Checkpoints from one full one to the next: a recovery reads at most so many deltas."""
MERGE_FAN = 8
"""Index parts of about one size that are merged into one: rows are written again once for every eightfold, and few parts remain."""
MERGE_BELOW_ROWS = 4_096
"""Index parts of this size or more stay as they are until their rows have left."""
MARKS = 64
"""A minute's checkpoints: a machine that ends suddenly has written to its disk what is older than half of that."""
_MOVED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint to be sent, all parts together.

    Attributes:
        parts: its records.
        base: logical offset that its delta stands on.
        end: logical offset at which it holds.
        full: whether it stands on nothing.
        epoch: of the log at its end.
        record_hash: of the record at its end.
        oldest: number of the oldest entry in the index at its end.
        rows: for each of its parts the numbers of the rows in it; empty where it holds buckets.
        moved: numbers of rows that are no more, since they moved to the young end.
    """

    parts: tuple[Part, ...]
    base: int
    end: int
    full: bool
    epoch: int
    record_hash: int
    oldest: int
    rows: tuple[Sequence[int], ...]
    moved: tuple[int, ...]


class IndexPart:
    """An index part: its rows' numbers, those from `at` on not yet known to be needless."""

    __slots__ = ("at", "end", "key", "number", "seqs")

    def __init__(self, key: bytes, end: int, seqs: Sequence[int]) -> None:
        self.key = key
        self.end = end
        self.seqs = seqs
        self.at = 0
        self.number = 0
        """Of this owner's own parts; 0 for those that were there before."""


class Changelog:
    """What this owner knows to stand in the changelog of its partition.

    Attributes:
        durable: logical offset of the last acknowledged checkpoint, -1 at first; the next one's base.
        deltas: checkpoints since the last full one.
        epoch: of the log, at the last acknowledged checkpoint.
        marks: the last record of each of the last checkpoints in this log, in order; a log that has lost its end is known by them.
    """

    __slots__ = ("_bucket_parts", "_horizon", "_index_parts", "_last_number", "_written_in", "deltas", "durable", "epoch", "marks")

    def __init__(self, *, horizon: int, durable: int = -1, deltas: int = 0, epoch: int = 0) -> None:
        self.durable = durable
        self.deltas = deltas
        self.epoch = epoch
        self.marks: list[Mark] = []
        self._horizon = horizon
        self._bucket_parts: dict[bytes, int] = {}
        self._index_parts: dict[bytes, IndexPart] = {}
        self._written_in = array("I", bytes(4 * horizon))
        """By slot: number of this owner's part that has the newest copy of the row there."""
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._bucket_parts) + len(self._index_parts)

    def full_is_due(self, state: PartitionState) -> bool:
        """Whether the next checkpoint should be a full one; counted in the log, not in the process."""
        return self.deltas >= FULL_EVERY - 1 or self.epoch != state.epoch

    def know(self, key: bytes, end: int, seqs: Sequence[int]) -> None:
        """Note a part that was there before, with the numbers of its rows (none: it holds buckets)."""
        if seqs:
            self._index_parts[key] = IndexPart(key, end, seqs)
        else:
            self._bucket_parts[key] = end

    def know_moved(self, seqs: Iterable[int]) -> None:
        """Note rows that are no more, since they moved to the young end."""
        for seq in seqs:
            self._written_in[seq % self._horizon] = _MOVED

    def acknowledged(self, checkpoint: Checkpoint) -> list[bytes]:
        """Note that all parts are acknowledged; return the keys to write tombstones for (none after a delta)."""
        self.marks = [*(self.marks if checkpoint.epoch == self.epoch else ()), (checkpoint.end, checkpoint.record_hash)][-MARKS:]
        self.durable, self.epoch = checkpoint.end, checkpoint.epoch
        self.deltas = 0 if checkpoint.full else self.deltas + 1
        for part, seqs in zip(checkpoint.parts, checkpoint.rows, strict=True):
            self._wrote(part.key, checkpoint.end, seqs)
        self.know_moved(checkpoint.moved)
        return self._take_dead(checkpoint) if checkpoint.full else []

    def _wrote(self, key: bytes, end: int, seqs: Sequence[int]) -> None:
        self.know(key, end, seqs)
        if seqs:
            self._last_number += 1
            self._index_parts[key].number = self._last_number
        for seq in seqs:
            self._written_in[seq % self._horizon] = self._last_number

    def _take_dead(self, checkpoint: Checkpoint) -> list[bytes]:
        """Return, and forget, the keys that an acknowledged full checkpoint makes needless."""
        end, oldest = checkpoint.end, checkpoint.oldest
        dead = [key for key, part_end in self._bucket_parts.items() if part_end < end]
        needless = [part.key for part in self._index_parts.values() if part.end <= end and self._is_needless(part, oldest)]
        for key in dead:
            del self._bucket_parts[key]
        for key in needless:
            del self._index_parts[key]
        return dead + needless

    def _is_needless(self, part: IndexPart, oldest: int) -> bool:
        while part.at < len(part.seqs) and not self._needs(part, part.seqs[part.at], oldest):
            part.at += 1
        return part.at == len(part.seqs)

    def _needs(self, part: IndexPart, seq: int, oldest: int) -> bool:
        return seq >= oldest and self._written_in[seq % self._horizon] in (0, part.number)

    def rows_to_merge(self, oldest: int) -> set[int]:
        """Return the numbers of the rows to be written again, so that the small parts which hold them may go.

        Parts beyond the last acknowledged checkpoint are left alone: they hold what this owner has not written yet.
        """
        tiers: dict[int, list[IndexPart]] = defaultdict(list)
        for part in self._index_parts.values():
            rows = len(part.seqs) - part.at
            if rows < MERGE_BELOW_ROWS and part.end <= self.durable:
                tiers[max(0, rows.bit_length() - 1) // (MERGE_FAN.bit_length() - 1)].append(part)
        small = [part for tier in tiers.values() if len(tier) >= MERGE_FAN for part in tier]
        return {seq for part in small for seq in part.seqs[part.at :] if self._needs(part, seq, oldest)}
