"""What more of everything costs: workers, query classes, arms, index entries, partitions before one owner of the statistics.

    python -m benchmarks.scale --quick --only shapes desk

Workers are measured on a broker; the rest without one, as processor time of the library itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import msgspec
import psutil

from benchmarks import report
from benchmarks.broker import Ground, ground
from benchmarks.contest import CHECKPOINTED, new_worker
from benchmarks.fill import fill
from benchmarks.inside import Partition, chunks, standing, timed
from benchmarks.options import Options, asked
from benchmarks.processes import Service, cpu_s, resident_bytes, say
from benchmarks.report import Figures
from benchmarks.workload import SCENARIOS, Scenario
from stream.records import Arm, ArmStatistics, PartitionStatistics
from stream.routing.desk import RoutingDesk
from stream.routing.settings import RoutingSettings
from stream.routing.state import RoutingState

PARTS = ("workers", "shapes", "index", "desk")
WORKERS = (1, 2, 4)
TRACES, QUICK_TRACES = 400_000, 20_000
SHAPE_TRACES, QUICK_SHAPE_TRACES = 200_000, 5_000
SHAPES = ("10x6", "100x6", "1000x6", "8x2", "8x6", "8x20", "8x100")
CHUNK, CHECKPOINT_EVERY = 690, 7_000
"""Records: of a fetch of 1 MiB, and of one partition of eight in a second of a saturated worker."""
INDEX_ENTRIES, QUICK_INDEX_ENTRIES = 262_144, 20_000
DESK_PARTITIONS, DESK_CLASSES, QUICK_DESK_CLASSES = 64, 1_000, 20
SESSION_S = 120.0
"""Workers stand still while the topic is filled, and must stay members."""
NOTES = (
    "Workers come up on an empty topic, stand still (SIGSTOP) while it is filled, and go on together. All share the cores with the broker.",
    "`_us_per_record` by classes x arms: processor time of folding and of checkpoints (one each 7,000 records of a partition), without fetching.",
    "`statistics_value_bytes`: the largest total of one class and partition, as `eddy.statistics` carries it.",
    "`index_bytes_per_entry`: resident memory less what the allocator keeps free (`malloc_trim`), of one full index of the default horizon, its ratings included.",
    "`desk_*`: the owner of `eddy.statistics` learning a total of every class from each of 64 partitions (6 arms, 30 buckets each), and deciding every class once.",
    "10^7 traces, extrapolated: totals are bounded by classes x arms x buckets and the index by its horizon, so that folding and recovery cost what they cost at 10^6.",
    "The log of 10^7 traces is 15 GB at 1.5 kB, the broker's; the archive grows with it up to its own limit.",
    "The one owner of `eddy.statistics` takes 10^6 / `desk_learn_us` totals a second at most; each worker sends at most 500 kB/s of them.",
    "Beyond that the topic would be split by query class, an owner a part: only the pooled prior needs more than one class.",
)


async def measure(options: Options) -> Figures:
    """Run all parts."""
    figures: dict[str, float | int | None] = {}
    if options.runs("workers"):
        for workers in WORKERS[: options.size(len(WORKERS), 2)]:
            figures |= await _workers(options, workers)
    if options.runs("shapes"):
        for name in SHAPES:
            figures |= _shape(SCENARIOS[name], options.size(SHAPE_TRACES, QUICK_SHAPE_TRACES))
    if options.runs("index"):
        figures |= _by_itself(_index, options.size(INDEX_ENTRIES, QUICK_INDEX_ENTRIES))
    if options.runs("desk"):
        figures |= _desk(options.size(DESK_CLASSES, QUICK_DESK_CLASSES))
    return figures


async def _workers(options: Options, number: int) -> Figures:
    """Let some workers fold a full topic together."""
    traces = options.size(TRACES, QUICK_TRACES)
    async with ground(options.broker, options.folder / f"workers-{number}") as where:
        workers = [await new_worker(where, keep_days=40, instance=f"scale-{place}", session_timeout_s=SESSION_S) for place in range(number)]
        try:
            for worker in workers:
                worker.start()
            await asyncio.gather(*[worker.ready() for worker in workers])
            await _all_held(workers)
            return await _folded_together(where, workers, traces)
        finally:
            for worker in workers:
                worker.kill()


async def _all_held(workers: Sequence[Service]) -> None:
    """Wait until the group has settled: every worker answers ready, three looks long."""
    seen = 0
    while seen < 3:
        await asyncio.sleep(1.0)
        answers = await asyncio.gather(*[worker.ask("/ready") for worker in workers])
        seen = seen + 1 if all(answer is not None and answer[0] == 200 for answer in answers) else 0


async def _folded_together(where: Ground, workers: Sequence[Service], traces: int) -> Figures:
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    records = await fill(where, "8x6", traces)
    before = [cpu_s(worker.pid) for worker in workers]
    began_s = time.time()
    for worker in workers:
        worker.signal(signal.SIGCONT)
    found = await _until_folded(workers, records)
    seconds = max(each.get("eddy_last_progress_timestamp_seconds", 0.0) for each in found) - began_s
    await asyncio.gather(*[worker.settle(CHECKPOINTED) for worker in workers])
    used = sum(cpu_s(worker.pid) for worker in workers) - sum(before)
    say(f"{len(workers)} workers: {traces / seconds:,.0f} traces/s, {used / traces * 1e6:.1f} us CPU a trace")
    return {
        f"traces_per_s_{len(workers)}_workers": traces / seconds,
        f"traces_per_s_per_worker_{len(workers)}_workers": traces / seconds / len(workers),
        f"traces_per_s_per_core_{len(workers)}_workers": traces / seconds / (os.cpu_count() or 1),
        f"worker_cpu_us_per_trace_{len(workers)}_workers": used / traces * 1e6,
        f"worker_mb_{len(workers)}_workers": max(resident_bytes(worker.pid) for worker in workers) / 1e6,
    }


async def _until_folded(workers: Sequence[Service], records: int) -> list[dict[str, float]]:
    deadline_s = time.monotonic() + 120.0
    while True:
        found = await asyncio.gather(*[worker.metrics() for worker in workers])
        if sum(each.get("eddy_folded_records_total", 0.0) for each in found) >= records:
            return found
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{len(workers)} workers have not folded {records} records in 120 s; see their logs")
        await asyncio.sleep(0.1)


def _shape(scenario: Scenario, traces: int) -> Figures:
    """Fold a workload in one partition, and say what folding, checkpoints and their results take."""
    partition, records = Partition(), list(standing(scenario, traces, per_s=10_000))
    fold_s = checkpoint_s = 0.0
    since = 0
    for chunk in chunks(iter(records), CHUNK):
        fold_s += timed(partial(partition.fold, chunk))
        since += len(chunk)
        if since >= CHECKPOINT_EVERY:
            since = 0
            checkpoint_s += timed(partition.checkpoint)
    value_bytes = max(len(msgspec.json.encode(partition.state.statistics(name))) for name in partition.state.all_classes())
    say(f"{scenario.id}: fold {fold_s / len(records) * 1e6:.2f} us, checkpoints {checkpoint_s / len(records) * 1e6:.2f} us a record")
    return {
        f"fold_us_per_record_{scenario.id}": fold_s / len(records) * 1e6,
        f"checkpoint_us_per_record_{scenario.id}": checkpoint_s / len(records) * 1e6,
        f"changelog_bytes_per_record_{scenario.id}": partition.written_bytes / len(records),
        f"statistics_value_bytes_{scenario.id}": value_bytes,
    }


def _by_itself(measured: Callable[[int], Figures], size: int) -> Figures:
    """Measure in a process of its own, which has no memory left over from other measurements to use again."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, size).result()


def _index(entries: int) -> Figures:
    """Memory of a full join index, an entry."""
    records = standing(SCENARIOS["8x6"], int(entries * 1.1), per_s=10_000)
    first = next(chunks(records, CHUNK))
    partition = Partition(horizon=entries)
    partition.fold(first)
    before = _held_bytes()
    for chunk in chunks(records, CHUNK):
        partition.fold(chunk)
    held = len(partition.state.index)
    per_entry = (_held_bytes() - before) / held
    say(f"index: {per_entry:.0f} bytes an entry at {held:,} entries")
    return {"index_bytes_per_entry": per_entry, "index_entries": held}


def _held_bytes() -> int:
    """Resident memory that is in use: what is free and kept for later, some 10 MB, is the process's and not the index's."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def _desk(classes: int) -> Figures:
    """What the owner of the statistics pays for totals and for decisions."""
    desk = RoutingDesk(settings=RoutingSettings(), fold="bench", state=RoutingState())
    desk.claim(1)
    totals = [_total(partition, number) for number in range(classes) for partition in range(DESK_PARTITIONS)]

    def learn() -> None:
        for total in totals:
            desk.learn(total)
        while not desk.catch_up():
            pass

    learn_s = timed(learn)
    updates = 0

    def decide() -> None:
        nonlocal updates
        while due := desk.due(1.0):
            updates += len(due)

    decide_s = timed(decide)
    say(f"desk: {learn_s / len(totals) * 1e6:.1f} us a total, {decide_s / max(updates, 1) * 1e6:.0f} us a decision, {updates} updates")
    return {"desk_learn_us": learn_s / len(totals) * 1e6, "desk_decide_us": decide_s / max(updates, 1) * 1e6, "desk_totals": len(totals), "desk_updates": updates}


def _total(partition: int, number: int) -> PartitionStatistics:
    """A class's total of one partition: 6 arms with half an hour of minutes."""
    buckets = tuple((60, 60 * minute, 1, 50, 50, 50 * 10**7, 50, 50_000, 50, 50_000, 30, 10, *([0] * 9), 40, 30 * 10**6, 30 * 10**12) for minute in range(30))
    arms = tuple(ArmStatistics(arm=Arm(model=f"model-{arm}"), buckets=buckets) for arm in range(6))
    return PartitionStatistics(fold="bench", partition=partition, offset=1_000, log_time_ms=1_800_000, query_class=f"class-{number:04}", arms=arms)


def main() -> None:
    """Measure and report."""
    with asked("scale", __doc__, parts=PARTS) as options:
        figures = asyncio.run(measure(options))
        conditions = f"{options.broker}, 8 partitions, {options.size(TRACES, QUICK_TRACES):,} traces for workers, {options.size(SHAPE_TRACES, QUICK_SHAPE_TRACES):,} a shape."
        report.finish("scale", figures, conditions=conditions, notes=NOTES, write=options.writes)


if __name__ == "__main__":
    main()
