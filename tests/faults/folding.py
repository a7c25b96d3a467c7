"""What the log must fold to, by the slow obvious fold of `tests.oracle`; and what of it must have gone elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

from stream.errors import MalformedRecordError
from stream.fold.spec import FoldSpec
from stream.reading.query_class import classifier
from stream.reading.record import read_record
from tests.faults.compare import summed
from tests.faults.log import partition_of
from tests.faults.readback import Stood
from tests.oracle import Oracle

PROCESSES = 2


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
    """Fold every partition from its first record to its last."""
    folded = Folded()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for one in pool.map(partial(fold_one, spec), range(spec.partitions), [list(log.get(number, ())) for number in range(spec.partitions)]):
            folded.states |= one.states
            folded.totals |= one.totals
            folded.refused += one.refused
            folded.misplaced += one.misplaced
    return folded


def fold_one(spec: FoldSpec, number: int, records: Sequence[Stood]) -> Folded:
    """Fold one partition, with one thread, a record at a time."""
    oracle = Oracle(spec, number, classifier(spec.classifier))
    folded = Folded()
    for record in records:
        refused, misplaced = oracle.counts["refused"], oracle.counts["misplaced"]
        oracle.read(record)
        if oracle.counts["refused"] > refused:
            folded.refused.append((number, record.offset, _reason(record, spec)))
        if oracle.counts["misplaced"] > misplaced:
            folded.misplaced.append((number, record.offset, *_home(record, spec)))
    state = folded.states[number] = oracle.canonical()
    for query_class, arms in state["totals"].items():
        folded.totals[number, query_class] = {(arm, drawn): sums for arm, buckets in arms.items() for drawn, sums in _over_time(buckets).items()}
    return folded


def _reason(record: Stood, spec: FoldSpec) -> str:
    try:
        read_record(record.value, max_bytes=spec.max_record_bytes, classify=_any_class, apart=spec.keeps_tenants_apart)
    except MalformedRecordError as exc:
        return exc.reason
    return "future"                                  # what can be read and is refused all the same is a rating from ahead of the log's time


def _home(record: Stood, spec: FoldSpec) -> tuple[bytes, int]:
    key = read_record(record.value, max_bytes=spec.max_record_bytes, classify=_any_class).trace_id.encode()
    return key, partition_of(key, spec.partitions)


def _any_class(_: str) -> str:
    return "any"


def _over_time(buckets: Mapping[str, Sequence[int]]) -> dict[int, list[int]]:
    return summed([(*map(int, place.split("/")), *sums) for place, sums in buckets.items()])
