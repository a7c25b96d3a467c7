"""The partitions that this worker holds, from one assignment to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stream.fold.checkpoint import Changelog
from stream.fold.state import PartitionState


@dataclass(eq=False, slots=True, kw_only=True)
class HeldPartition:
    """A partition's state in memory, and how much of it is durable.

    Attributes:
        state: at the last record folded.
        changelog: what is known to stand in its changelog; how far the state is durable.
        is_held: False once the assignment has ended; whoever still has it must write no more.
        effects: dead letters and forwards sent for what was folded, not known to be acknowledged.
        handled_to: physical offset below which the active fold, another one, has sent the effects; nothing is sent twice.
        is_sending: whether effects of what was folded are still to be sent; a checkpoint now would cover them.
        folded: records folded since the last checkpoint was taken.
        checkpoint_due_s: monotonic time at which the next checkpoint is due.
        writing: the checkpoint under way; there is one at a time.
    """

    state: PartitionState
    changelog: Changelog
    is_held: bool = True
    effects: list[asyncio.Future[Any]] = field(default_factory=list)
    handled_to: int = 0
    is_sending: bool = False
    folded: int = 0
    checkpoint_due_s: float = 0.0
    writing: asyncio.Task[None] | None = None

    @property
    def number(self) -> int:
        """Of the partition."""
        return self.state.number

    @property
    def is_dirty(self) -> bool:
        """Whether records were folded that no acknowledged checkpoint covers."""
        return self.state.offset > self.changelog.durable

    @property
    def committable(self) -> int | None:
        """Physical offset that may be committed: what comes right after the durable state."""
        offset = self.changelog.durable + 1 - self.state.base
        return offset if offset > 0 else None


class Holdings:
    """All held partitions by number."""

    def __init__(self) -> None:
        self._held: dict[int, HeldPartition] = {}

    def __iter__(self) -> Iterator[HeldPartition]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, held: HeldPartition) -> None:
        """Take a partition."""
        self._held[held.number] = held

    def get(self, number: int) -> HeldPartition | None:
        """A held partition, or None."""
        return self._held.get(number)

    def release(self) -> None:
        """Let all go: the next assignment recovers what it brings."""
        for held in self._held.values():
            held.is_held = False
        self._held.clear()
