"""The fold: a partition's state and the next records of its log give its next state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stream.fold.state import PartitionState


class LogRecord(Protocol):
    """A record as the broker hands it out; aiokafka's `ConsumerRecord` is one."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that goes to the dead-letter topic.

    Attributes:
        offset: physical.
        reason: one of `stream.reading.record.REASONS`.
        detail: what was wrong.
    """

    offset: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A record to be forwarded, since it stands under another key than its trace id or in another partition than that key's.

    Attributes:
        offset: physical.
        key: the right one.
        partition: the right one.
        reason: `wrong_key` or `wrong_partition`.
    """

    offset: int
    key: bytes
    partition: int
    reason: str


def fold(state: PartitionState, records: Sequence[LogRecord], classify: Callable[[str], str]) -> list[Refused | Misplaced]:
    """Fold the next records of the log into the state; never raises for what a record holds.

    Args:
        state: changed in place.
        records: in order; those that were folded already are skipped.
        classify: gives the class of a query, for traces that name none.

    Returns:
        What must go elsewhere, in order, before a checkpoint that covers it.

    Raises:
        LogGapError: the first record is beyond `state.position`.
    """
    raise NotImplementedError


def begin_epoch(state: PartitionState, first_physical_offset: int) -> None:
    """Go on in a log that was made anew: its first record is numbered right after the last one folded."""
    raise NotImplementedError
