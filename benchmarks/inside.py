"""Records and partitions without a broker: what of the cost is the fold's own."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from benchmarks.workload import Scenario, write
from stream.fold.checkpoint import Changelog, Part, write_checkpoint
from stream.fold.fold import fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.reading.query_class import classifier
from stream.settings import load

BEGIN_MS = 1_700_000_000_000


class Standing(NamedTuple):
    """A record as it stands in a log."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def standing(scenario: Scenario, traces: int, *, per_s: float) -> Iterator[Standing]:
    """A workload as it stands in the one partition of a log, so many records a second."""
    for offset, (key, value) in enumerate(write(scenario, traces, now_s=BEGIN_MS / 1000)):
        yield Standing(offset, BEGIN_MS + int(offset / per_s * 1000), key, value)


def chunks(records: Iterator[Standing], size: int) -> Iterator[list[Standing]]:
    """Cut records into chunks."""
    while chunk := list(islice(records, size)):
        yield chunk


class Partition:
    """One partition, its changelog, and what its parts do in a broker: they are kept until a tombstone takes them away.

    Args:
        fields: settings that the fold depends on.
    """

    def __init__(self, **fields: object) -> None:
        self.spec = FoldSpec.of(load(partitions=1, **fields))
        self.state = PartitionState(0, self.spec)
        self.changelog = Changelog(horizon=self.spec.horizon)
        self.parts: dict[bytes, bytes] = {}
        self.written_bytes = 0
        self.checkpoints = 0
        self._classify: Callable[[str], str] = classifier("seed")

    def fold(self, records: Sequence[Standing]) -> None:
        """Fold records."""
        fold(self.state, records, self._classify)

    def checkpoint(self) -> None:
        """Write a checkpoint, and have it acknowledged."""
        checkpoint = write_checkpoint(self.state, self.changelog, checkpoint_id=uuid.uuid4().bytes, full=self.changelog.full_is_due(self.state))
        self.parts.update({part.key: part.value for part in checkpoint.parts})
        self.written_bytes += sum(map(_size, checkpoint.parts))
        self.checkpoints += 1
        for key in self.changelog.acknowledged(checkpoint):
            self.parts.pop(key, None)

    @property
    def standing_bytes(self) -> int:
        """Size of what a recovery reads."""
        return sum(len(key) + len(value) for key, value in self.parts.items())


def _size(part: Part) -> int:
    return len(part.key) + len(part.value)


def timed(work: Callable[[], object]) -> float:
    """Processor seconds that something takes."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s
