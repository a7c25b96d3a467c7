"""Judges what a fault run left behind, against the log that the broker gives back: once by the slow fold, once by counting what was sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream.fold.checkpoint import recover
from stream.fold.spec import FoldSpec
from stream.records import PartitionStatistics, RoutingUpdate
from stream.settings import Settings
from stream.topics import DEAD_LETTERS, ROUTING, STATISTICS, TRACES
from tests.faults import compare
from tests.faults.folding import Folded, fold_slowly
from tests.faults.log import write_log
from tests.faults.readback import Stood, newest, read_all, true_ends
from tests.faults.run import Publisher
from tests.faults.workers import Fleet, say

DRAIN_PATIENCE_S = 180.0
STILL_S = 1.0
"""How long the log must stand still to count as folded: a misplaced record is folded where it lies before its copy is on the log."""
SETTLE_PATIENCE_S = 60.0
"""How long what is published on the way (totals, routes, the last checkpoint) may take after the last record is folded."""


@dataclass(slots=True)
class Verdict:
    """What was found: `mismatches` are sentences."""

    records: int = 0
    lost: int = 0
    double_counted: int = 0
    mismatches: list[str] = field(default_factory=list)


async def judge(settings: Settings, fleet: Fleet, publisher: Publisher) -> Verdict:
    """Let the workers drain, read everything back, and compare.

    1. Every partition's state, as its owner holds it.
    2. Every partition's state, as a new owner would recover it from the raw changelog.
    3. The running totals and the routes, as a fresh reader of the compacted topics ends with them.
    4. Dead letters and forwards.
    5. The log with what was sent, and the totals with a count of what was sent that knows nothing of the fold.
    """
    verdict = Verdict()
    held = await drain(settings, fleet)
    log = await read_all(settings, TRACES.name)
    verdict.records = sum(map(len, log.values()))
    say(f"drained; {verdict.records} records in the log; folding them slowly")
    expected = await asyncio.to_thread(fold_slowly, log, FoldSpec.of(settings))
    verdict.mismatches += compare.compare_states(expected.states, held, "the workers")
    verdict.mismatches += await settled(lambda: _recovered(settings, expected))
    verdict.mismatches += await settled(lambda: _statistics(settings, expected))
    verdict.mismatches += await settled(lambda: look_at_routes(settings))
    verdict.mismatches += compare.compare_dead_letters(expected.refused, log, _flat(await read_all(settings, DEAD_LETTERS.name)))
    verdict.mismatches += compare.compare_forwards(expected.misplaced, log)
    sent = list(write_log(**publisher.log))
    verdict.mismatches += compare.compare_published(sent, log, expected.refused)
    learned = compare.count_learned((await standing_totals(settings)).values())
    verdict.lost, verdict.double_counted = compare.lost_and_double(compare.count_sent(sent, settings.partitions), learned)
    return verdict


async def drain(settings: Settings, fleet: Fleet) -> dict[int, Any]:
    """Wait until every partition of the log is folded to its true end, and stays so; returns the states that the workers hold.

    Raises:
        TimeoutError: it does not happen.
    """
    deadline = time.monotonic() + DRAIN_PATIENCE_S
    held: dict[int, Any] = {}
    ends: dict[int, int] = {}
    while time.monotonic() < deadline:
        fleet.hold_up()
        await asyncio.sleep(STILL_S)
        if any(lag != 0 for lag in [await worker.lag() for worker in fleet.workers.values()]):
            continue  # to write down its whole state keeps a worker from folding: it is asked for when that may be the end
        ends = await true_ends(settings, TRACES.name)
        held = await held_states(fleet)
        folded = {number: state["offset"] + 1 - state["base"] for number, state in held.items()}
        await asyncio.sleep(STILL_S)
        if folded == ends == await true_ends(settings, TRACES.name):
            return held
    offsets = {number: state["offset"] for number, state in sorted(held.items())}
    raise TimeoutError(f"after {DRAIN_PATIENCE_S:.0f} s the workers hold {offsets}, but the log ends at {ends}")


async def held_states(fleet: Fleet) -> dict[int, Any]:
    """Ask every worker for the states that it holds."""
    answers = await asyncio.gather(*(worker.states() for worker in fleet.workers.values()))
    return {int(number): state for states in answers for number, state in (states or {}).items()}


async def settled(look: Any) -> list[str]:
    """Look until nothing is wrong, for a while; returns what is wrong then."""
    deadline = time.monotonic() + SETTLE_PATIENCE_S
    while (faults := await look()) and time.monotonic() < deadline:
        await asyncio.sleep(1.0)
    return list(faults)


async def recovered_states(settings: Settings) -> dict[int, Any]:
    """Recover every partition from its raw changelog, as its next owner would."""
    spec = FoldSpec.of(settings)
    changelog = await read_all(settings, f"eddy-{spec.id}-checkpoints-changelog")
    parts = {number: {key: record.value or b"" for key, record in newest(changelog.get(number, [])).items()} for number in range(settings.partitions)}
    return {number: recover(found, number=number, spec=spec)[0].canonical() for number, found in parts.items()}


async def _recovered(settings: Settings, expected: Folded) -> list[str]:
    return compare.compare_states(expected.states, await recovered_states(settings), "the changelog")


async def standing_totals(settings: Settings) -> dict[tuple[int, str], PartitionStatistics]:
    """The running totals that a fresh reader ends with, by partition and class."""
    records = await read_all(settings, STATISTICS.name)
    return compare.read_statistics(newest(records.get(0, [])), FoldSpec.of(settings).id)


async def _statistics(settings: Settings, expected: Folded) -> list[str]:
    return compare.compare_statistics(expected.totals, await standing_totals(settings))


async def look_at_routes(settings: Settings) -> list[str]:
    """A fresh reader of the routes ends, for every class, with the newest version there is, and with the counts of the totals."""
    records = (await read_all(settings, ROUTING.name)).get(0, [])
    updates = [msgspec.json.decode(record.value, type=RoutingUpdate) for record in records if record.value is not None]
    ends = {key.decode(): msgspec.json.decode(record.value or b"", type=RoutingUpdate) for key, record in newest(records).items()}
    return compare.compare_routes(updates, ends, (await standing_totals(settings)).values())


def _flat(partitions: Mapping[int, Iterable[Stood]]) -> list[Stood]:
    return [record for records in partitions.values() for record in records]
