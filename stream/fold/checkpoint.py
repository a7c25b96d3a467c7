"""Checkpoints: a partition's state as immutable records of a changelog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState


class Part(NamedTuple):
    """One record of the changelog."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint to be sent, all parts together.

    Attributes:
        parts: its records.
        base: logical offset that its delta stands on.
        end: logical offset at which it holds.
        full: whether it stands on nothing.
    """

    parts: tuple[Part, ...]
    base: int
    end: int
    full: bool


class Changelog:
    """What the owner of a partition knows to stand in its changelog.

    Attributes:
        durable: logical offset of the last acknowledged checkpoint, -1 at first. The next one's base.
    """

    durable: int

    def full_is_due(self, state: PartitionState) -> bool:
        """Whether the next checkpoint should be a full one; counted in the log, not in the process."""
        raise NotImplementedError

    def acknowledged(self, checkpoint: Checkpoint) -> list[bytes]:
        """Note that all parts are acknowledged; return the keys to write tombstones for (none after a delta)."""
        raise NotImplementedError


def write_checkpoint(state: PartitionState, changelog: Changelog, *, checkpoint_id: bytes, full: bool) -> Checkpoint:
    """Write down what changed since the last checkpoint (`changelog.durable`), or all.

    The last checkpoint must have been acknowledged: one is under way at a time.

    Args:
        state: what it remembers as changed is cleared.
        changelog: of the same partition; says which older parts a full one replaces.
        checkpoint_id: 16 bytes, never used for another checkpoint.
        full: whether to write all totals and merge small old index parts.
    """
    raise NotImplementedError


def recover(parts: Mapping[bytes, bytes], *, number: int, spec: FoldSpec) -> tuple[PartitionState, Changelog]:
    """Find the newest state that a changelog holds; an empty changelog gives a fresh state.

    Raises:
        CheckpointGapError: something that the newest state stands on is missing; read the changelog again.
    """
    raise NotImplementedError


def checkpoint_end(parts: Mapping[bytes, bytes]) -> int | None:
    """Return the logical end of the newest recoverable checkpoint, None where there is none."""
    raise NotImplementedError
