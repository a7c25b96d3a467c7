"""What the log must fold to, by the slow obvious fold; and what of it must have gone elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.fold.fold import Refused, fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.reading.query_class import classifier
from tests.faults.compare import summed
from tests.faults.readback import Stood


@dataclass(slots=True)
class Folded:
    """The expected end of a log.

    Attributes:
        states: canonical, by partition.
        totals: by (partition, class): sums by (arm id, drawn), over all times.
        refused: (partition, offset, reason).
        misplaced: (partition, offset, right key, right partition).
    """

    states: dict[int, Any] = field(default_factory=dict)
    totals: dict[tuple[int, str], dict[tuple[str, int], list[int]]] = field(default_factory=dict)
    refused: list[tuple[int, int, str]] = field(default_factory=list)
    misplaced: list[tuple[int, int, bytes, int]] = field(default_factory=list)


def fold_slowly(log: Mapping[int, Sequence[Stood]], spec: FoldSpec) -> Folded:
    """Fold every partition from its first record to its last, with one thread."""
    folded = Folded()
    for number in range(spec.partitions):
        state = PartitionState(number, spec)
        for outcome in fold(state, log.get(number, ()), classifier(spec.classifier)) if log.get(number) else ():
            if isinstance(outcome, Refused):
                folded.refused.append((number, outcome.offset, outcome.reason))
            else:
                folded.misplaced.append((number, outcome.offset, outcome.key, outcome.partition))
        folded.states[number] = state.canonical()
        for query_class, arms in folded.states[number]["totals"].items():
            folded.totals[number, query_class] = {(arm, drawn): sums for arm, buckets in arms.items() for drawn, sums in _over_time(buckets).items()}
    return folded


def _over_time(buckets: Mapping[str, Sequence[int]]) -> dict[int, list[int]]:
    return summed([(*map(int, place.split("/")), *sums) for place, sums in buckets.items()])
