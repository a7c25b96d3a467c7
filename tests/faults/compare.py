"""Compares what a run left behind with what must be there: states, statistics, dead letters, forwards and counts.

Every function returns sentences, one for each thing that is wrong; none is good.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from stream.fold.totals import Sum
from stream.records import PartitionStatistics, RoutingUpdate
from stream.topics import DEAD_LETTERS
from tests.faults.log import Kind, Sent, partition_of
from tests.faults.readback import Stood

Cell = tuple[int, str, str, str]
"""(partition, query class, model, agent)."""
ANY_CLASS = "*"
"""The class whose route serves queries of a class that has none."""
SUMS_FROM = 3
"""Where the sums begin in a row of a bucket: behind width, start and drawn."""


def difference(expected: Any, found: Any, *, most: int = 4) -> str | None:
    """Name the first places where two values of JSON differ, or None."""
    said = list(islice(_differences(expected, found, ""), most))
    return "; ".join(said) if said else None


def _differences(expected: Any, found: Any, path: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if key in expected and key in found:
                yield from _differences(expected[key], found[key], f"{path}/{key}")
            else:
                yield f"{path}/{key} {'must not be there' if key not in expected else 'is missing'}"
    elif isinstance(expected, list) and isinstance(found, list):
        for place, (left, right) in enumerate(zip(expected, found, strict=False)):
            yield from _differences(left, right, f"{path}/{place}")
        if len(expected) != len(found):
            yield f"{path} has {len(found)} entries instead of {len(expected)}"
    elif expected != found or type(expected) is not type(found):
        yield f"{path}: {str(found)[:200]} instead of {str(expected)[:200]}"


def as_json(value: Any) -> Any:
    """What a value is once it has been through JSON; the parts of a key are joined by commas."""
    return json.loads(json.dumps(_plain_keys(value)))


def _plain_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {",".join(map(str, key)) if isinstance(key, tuple) else str(key): _plain_keys(entry) for key, entry in value.items()}
    return [_plain_keys(entry) for entry in value] if isinstance(value, list | tuple) else value


def compare_states(expected: Mapping[int, Any], found: Mapping[int, Any], where: str) -> list[str]:
    """Compare the canonical state of every partition."""
    missing = [f"{where} has no partition {number}" for number in expected if number not in found]
    differences = {number: difference(as_json(expected[number]), as_json(found[number])) for number in expected.keys() & found.keys()}
    return missing + [f"partition {number} in {where}: {said}" for number, said in sorted(differences.items()) if said]


def compare_dead_letters(refused: Iterable[tuple[int, int, str]], log: Mapping[int, Sequence[Stood]], letters: Iterable[Stood]) -> list[str]:
    """Compare dead letters with what the fold refused.

    Args:
        refused: (partition, offset, reason) of every record that must have a letter; copies may have the same coordinates only.
        log: the log itself, for the bytes.
        letters: the whole dead-letter topic.
    """
    reasons = {(partition, offset): reason for partition, offset, reason in refused}
    records = {(partition, record.offset): record for partition, records in log.items() for record in records}
    faults, found = [], set()
    for letter in letters:
        place = (int(letter.header("eddy-partition") or -1), int(letter.header("eddy-offset") or -1))
        found.add(place)
        if place not in reasons:
            faults.append(f"a dead letter stands for {place}, which the fold takes")
        elif letter.header("eddy-reason") != reasons[place]:
            faults.append(f"the dead letter of {place} says {letter.header('eddy-reason')!r} instead of {reasons[place]!r}")
        elif not _is_untouched(letter, records[place]):
            faults.append(f"the dead letter of {place} holds other bytes than the record")
    return faults + [f"the record at {place}, refused as {reason!r}, has no letter on {DEAD_LETTERS.name}" for place, reason in reasons.items() if place not in found]


def _is_untouched(letter: Stood, record: Stood) -> bool:
    value, kept = record.value or b"", letter.value or b""
    if (cut := letter.header("eddy-cut")) is not None:
        return int(cut) == len(value) and value.startswith(kept)
    return kept == value


def compare_forwards(misplaced: Iterable[tuple[int, int, bytes, int]], log: Mapping[int, Sequence[Stood]]) -> list[str]:
    """Find, for every misplaced record (partition, offset, right key, right partition), its copy in the right place."""
    records = {(partition, record.offset): record for partition, records in log.items() for record in records}
    copies = {(partition, record.header("eddy-forwarded")): record for partition, records in log.items() for record in records if record.header("eddy-forwarded")}
    faults = []
    for partition, offset, key, home in misplaced:
        copy = copies.get((home, f"{partition}/{offset}"))
        if copy is None or copy.key != key or copy.value != records[partition, offset].value:
            faults.append(f"the record at {(partition, offset)} belongs to {home} under {key!r}, but {'no copy' if copy is None else 'another record'} stands there")
    return faults


def compare_published(sent: Iterable[Sent], log: Mapping[int, Sequence[Stood]], refused: Iterable[tuple[int, int, str]]) -> list[str]:
    """Hold the log against what was sent: all of it stands there, and what was sent as garbage was refused."""
    standing = Counter((record.key, record.value) for records in log.values() for record in records)
    rejected = {(partition, offset) for partition, offset, _ in refused}
    refused_values = Counter((record.key, record.value) for partition, records in log.items() for record in records if (partition, record.offset) in rejected)
    faults = []
    for record in sent:
        if not standing[record.key, record.value]:
            faults.append(f"{record.kind.value} {record.trace_id} was acknowledged, but is not in the log")
        if record.kind is Kind.GARBAGE and not refused_values[record.key, record.value]:
            faults.append(f"garbage was taken: {str(record.value)[:120]}")
    return faults


def count_sent(sent: Iterable[Sent], partitions: int) -> Counter[Cell]:
    """Count the distinct traces that were sent, by where they must be counted; knows nothing of the fold."""
    cells = {(record.trace_id): record.cell for record in sent if record.cell is not None}
    return Counter((partition_of(trace_id.encode(), partitions), *cell) for trace_id, cell in cells.items())


def count_learned(statistics: Iterable[PartitionStatistics]) -> Counter[Cell]:
    """Count the traces that the running totals hold."""
    counts: Counter[Cell] = Counter()
    for total in statistics:
        for arm in total.arms:
            counts[total.partition, total.query_class, arm.arm.model, arm.arm.agent] += sum(row[SUMS_FROM + Sum.COUNT] for row in arm.buckets)
    return counts


def lost_and_double(sent: Counter[Cell], learned: Counter[Cell]) -> tuple[int, int]:
    """How many traces were sent and not counted, and how many counted that were not sent, in the classes and arms that were sent."""
    lost = sum(max(count - learned[cell], 0) for cell, count in sent.items())
    return lost, sum(max(learned[cell] - count, 0) for cell, count in sent.items())


def read_statistics(standing: Mapping[bytes, Stood], fold: str) -> dict[tuple[int, str], PartitionStatistics]:
    """Decode one fold's totals as they stand on the compacted topic, by partition and class."""
    totals = [msgspec.json.decode(record.value or b"", type=PartitionStatistics) for record in standing.values()]
    return {(total.partition, total.query_class): total for total in totals if total.fold == fold}


def summed(buckets: Iterable[Sequence[int]]) -> dict[int, list[int]]:
    """Add up rows of buckets over all times, the drawn apart from the others: what ageing does not change."""
    rows: dict[int, list[Sequence[int]]] = defaultdict(list)
    for row in buckets:
        rows[row[2]].append(row[SUMS_FROM:])
    return {drawn: [sum(column) for column in zip(*of_it, strict=True)] for drawn, of_it in rows.items()}


def compare_statistics(expected: Mapping[tuple[int, str], Mapping[tuple[str, int], Sequence[int]]], standing: Mapping[tuple[int, str], PartitionStatistics]) -> list[str]:
    """Compare the running totals with the fold's.

    Args:
        expected: by (partition, class): sums by (arm id, drawn), over all times.
        standing: what a fresh reader of the compacted topic ends with.
    """
    found = {place: {(arm.arm.id, drawn): sums for arm in total.arms for drawn, sums in summed(arm.buckets).items()} for place, total in standing.items()}
    faults = []
    for place in sorted(expected.keys() | {place for place, arms in found.items() if arms}):
        left, right = expected.get(place, {}), found.get(place, {})
        differing = [cell for cell in sorted(left.keys() | right.keys()) if list(left.get(cell, ())) != right.get(cell, [])]
        if differing:
            cell = differing[0]
            faults.append(f"eddy.statistics of {place}, {cell} (and {len(differing) - 1} more): {right.get(cell)} instead of {left.get(cell)}")
    return faults


def compare_routes(updates: Iterable[RoutingUpdate], ends: Mapping[str, RoutingUpdate], totals: Iterable[PartitionStatistics]) -> list[str]:
    """Compare the routes that a fresh reader ends with, by class, with all updates there ever were and with the running totals."""
    newest_versions: dict[str, tuple[int, int]] = {}
    for update in updates:
        newest_versions[update.query_class] = max(update.version, newest_versions.get(update.query_class, (0, 0)))
    counts: Counter[str] = Counter()
    for total in totals:
        count = sum(row[SUMS_FROM + Sum.COUNT] for arm in total.arms for row in arm.buckets)
        counts[total.query_class] += count
        counts[ANY_CLASS] += count
    faults = [f"no route for class {name}" for name in counts if counts[name] and name not in ends]
    for name, update in ends.items():
        if update.version != newest_versions[name]:
            faults.append(f"a fresh reader ends on version {update.version} of {name}, but {newest_versions[name]} was published")
        if sum(arm.count for arm in update.arms) != counts[name]:
            faults.append(f"the route of {name} counts {sum(arm.count for arm in update.arms)} traces instead of {counts[name]}")
        if not math.isclose(sum(arm.probability for arm in update.arms), 1.0, abs_tol=1e-9):
            faults.append(f"the probabilities of {name} add up to {sum(arm.probability for arm in update.arms)}")
    return faults


def compare_decisions(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]], *, tolerance: float) -> list[str]:
    """Compare what routers drew from before and after a restart: by class and arm (probability, state, count, rated count)."""
    faults = []
    for name in sorted(before.keys() | after.keys()):
        left, right = before.get(name, {}), after.get(name, {})
        if {arm: entry[1:] for arm, entry in left.items()} != {arm: entry[1:] for arm, entry in right.items()}:
            faults.append(f"the route of {name}: {dict(right)} instead of {dict(left)}")
        elif any(abs(left[arm][0] - right[arm][0]) > tolerance for arm in left):
            faults.append(f"the probabilities of {name}: {[entry[0] for entry in right.values()]} instead of {[left[arm][0] for arm in right]}")
    return faults
