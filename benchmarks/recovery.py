"""How soon a worker folds again: after an assignment, after SIGKILL, and after the embedded broker and everything with it was killed.

    python -m benchmarks.recovery --quick --broker kafka

A slow stream writes far more checkpoints a trace than a fast one; the last part sees that recovery does not feel it.
"""

from __future__ import annotations

import asyncio
import shutil
import time

from benchmarks import report, slow_stream
from benchmarks.broker import Ground, ground
from benchmarks.contest import CHECKPOINTED, new_worker
from benchmarks.embedded import restart_seconds
from benchmarks.fill import fill
from benchmarks.options import Options, asked
from benchmarks.processes import Service, say
from benchmarks.report import Figures, median, spread

PARTS = ("worker", "embedded", "slow")
SIZES, QUICK_SIZES = ((100_000, "1e5"), (1_000_000, "1e6")), ((5_000, "1e5"), (20_000, "1e6"))
EMBEDDED_SIZES, QUICK_EMBEDDED_SIZES = ((10_000, "1e4"), (100_000, "1e5")), ((1_000, "1e4"), (3_000, "1e5"))
NOTES = (
    "`ready_s` is from the assignment of the partitions until records flow (`eddy_recovery_seconds`).",
    "`end_to_end_s` is from SIGKILL until the next life, of the same static member, answers that it is ready.",
    "`_without_disk`: the data folder was removed between the lives. A worker keeps nothing in it that recovery needs.",
    "`embedded_restart_s`: `eddy up` killed with all its processes, the broker's memory gone, until it is ready again with what the archive holds.",
    "`slow_recover_s`: one partition fed 10 / 8 traces a second for a simulated week, a checkpoint each second; `fast_recover_s`: the same records, a checkpoint each 50,000.",
)


async def measure(options: Options) -> Figures:
    """Run all parts."""
    figures: dict[str, float | int | None] = {}
    if options.runs("worker"):
        for size, name in QUICK_SIZES if options.quick else SIZES:
            figures |= await _kills(options, size, name)
    if options.runs("embedded"):
        for size, name in QUICK_EMBEDDED_SIZES if options.quick else EMBEDDED_SIZES:
            figures[f"embedded_restart_s_{name}"] = await restart_seconds(options.folder / f"embedded-{name}", size)
    if options.runs("slow"):
        figures |= slow_stream.measure(options)
    return figures


async def _kills(options: Options, traces: int, name: str) -> Figures:
    """Fold so many traces, then kill and start again a few times, with and without the data folder."""
    async with ground(options.broker, options.folder / f"worker-{name}") as where:
        records = await fill(where, "8x6", traces)
        worker = await _folded_all(where, records)
        try:
            kept = [await _life(worker, keep=True) for _ in range(options.rounds)]
            fresh = [await _life(worker, keep=False) for _ in range(options.rounds)]
        finally:
            worker.kill()
    say(f"after {traces:,} traces: ready {kept[-1][0]:.2f} s, end to end {kept[-1][1]:.2f} s; without disk {fresh[-1][0]:.2f} s, {fresh[-1][1]:.2f} s")
    figures = {
        f"ready_s_after_{name}": median(ready for ready, _ in kept),
        f"ready_s_after_{name}_without_disk": median(ready for ready, _ in fresh),
        f"end_to_end_s_after_{name}": median(end for _, end in kept),
        f"end_to_end_s_after_{name}_without_disk": median(end for _, end in fresh),
        f"end_to_end_s_after_{name}_spread": spread(end for _, end in kept),
    }
    return figures | ({"end_to_end_s_after_kill": max(end for _, end in kept + fresh)} if name == "1e6" else {})


async def _folded_all(where: Ground, records: int) -> Service:
    worker = await new_worker(where)
    worker.start()
    async for sample in worker.samples():
        if sample.records >= records:
            break
    await worker.settle(CHECKPOINTED)
    return worker


async def _life(worker: Service, *, keep: bool) -> tuple[float, float]:
    """Kill, begin the next life; returns seconds from its assignment until it folds, and from the kill until it says so."""
    began_s = time.monotonic()
    worker.kill()
    if not keep:
        shutil.rmtree(worker.folder)
        worker.folder.mkdir()
    worker.start()
    await worker.ready()
    seconds = time.monotonic() - began_s
    await asyncio.sleep(0.5)
    return (await worker.metrics())["eddy_recovery_seconds"], seconds


def main() -> None:
    """Measure and report."""
    with asked("recovery", __doc__, parts=PARTS) as options:
        figures = asyncio.run(measure(options))
        report.finish("recovery", figures, conditions=f"{options.broker}, 8 partitions, {options.rounds} kills each.", notes=NOTES, write=options.writes)


if __name__ == "__main__":
    main()
