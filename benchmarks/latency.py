"""Time from a trace's publish to the router's use of the update it caused, at rest and under load.

    python -m benchmarks.latency --quick --broker embedded

A probe is the first trace of a class of its own, so that the update it causes cannot be another's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from benchmarks import report
from benchmarks.broker import Ground, ground
from benchmarks.contest import new_worker
from benchmarks.fill import filler
from benchmarks.options import Options, asked
from benchmarks.processes import Script, Service, say
from benchmarks.report import Figures
from stream.client import Router, TracePublisher
from stream.records import Trace

PROBES, QUICK_PROBES = 300, 30
PROBE_EVERY_S = 0.1
SATURATION_S, QUICK_SATURATION_S = 20.0, 3.0
LOADS = (("10_percent", 0.1), ("half_load", 0.5), ("80_percent", 0.8))
QUIET_PER_S = 50.0
LOST_S = 10.0
"""A probe that takes longer has been lost, and fails the run."""
ENDLESS = 10**9
NOTES = (
    "The saturated rate is what one worker folds while a publisher on the same cores sends as fast as it can.",
    "Each probe is the first trace of a new class, published by `TracePublisher` and awaited with `Router.updates`; the load is published by another process.",
)


async def measure(options: Options) -> Figures:
    """Saturate, then probe under each load."""
    async with ground(options.broker, options.folder / "latency") as where:
        worker = await new_worker(where, max_classes=100_000)
        worker.start()
        try:
            await worker.ready()
            saturated = await _saturate(where, worker, options)
            figures: dict[str, float | int | None] = {"saturated_records_per_s": saturated}
            loads = [("at_50_per_s", QUIET_PER_S), *((name, saturated * share) for name, share in LOADS)]
            for name, per_s in loads:
                figures |= await _probed(where, worker, name, per_s, options)
            return figures
        finally:
            worker.kill()


async def _saturate(where: Ground, worker: Service, options: Options) -> float:
    """Publish as fast as it goes for a while; returns the records a second that were folded."""
    async with _publishing(where, 0.0):
        await _more_than(worker, 0)
        before, began_s = await _folded(worker), time.monotonic()
        await asyncio.sleep(QUICK_SATURATION_S if options.quick else SATURATION_S)
        rate = (await _folded(worker) - before) / (time.monotonic() - began_s)
    await _caught_up(worker)
    say(f"saturated: {rate:,.0f} records/s")
    return rate


async def _probed(where: Ground, worker: Service, name: str, per_s: float, options: Options) -> dict[str, float | int | None]:
    """Probe while a load runs."""
    async with _publishing(where, per_s):
        await asyncio.sleep(2.0)
        taken_ms = sorted(await _probe(where, name, options.size(PROBES, QUICK_PROBES)))
    await _caught_up(worker)
    p50, p99, worst = (taken_ms[min(int(len(taken_ms) * share), len(taken_ms) - 1)] for share in (0.5, 0.99, 1.0))
    say(f"{name} ({per_s:,.0f} records/s): p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {worst:.1f} ms of {len(taken_ms)} probes")
    return {f"p50_ms_{name}": p50, f"p99_ms_{name}": p99, f"max_ms_{name}": worst}


async def _probe(where: Ground, name: str, probes: int) -> list[float]:
    """Publish probes one after another; returns how long each took, in ms."""
    sent: dict[str, float] = {}
    taken: dict[str, float] = {}
    async with Router(settings=where.settings) as router, TracePublisher(settings=where.settings) as publisher:
        await router.ready()
        following = asyncio.create_task(_follow(router, sent, taken))
        await asyncio.sleep(0.5)
        for number in range(probes):
            probe = f"probe-{name}-{number}"
            sent[probe] = time.perf_counter()
            publisher.publish(Trace(trace_id=probe, query_class=probe, query="a probe", model="model-0", outcome="success"))
            await asyncio.sleep(PROBE_EVERY_S)
        await _all_taken(sent, taken)
        following.cancel()
    return list(taken.values())


async def _follow(router: Router, sent: Mapping[str, float], taken: dict[str, float]) -> None:
    async for update in router.updates():
        if update.query_class in sent:
            taken.setdefault(update.query_class, (time.perf_counter() - sent[update.query_class]) * 1e3)


async def _all_taken(sent: Mapping[str, float], taken: Mapping[str, float]) -> None:
    deadline_s = time.monotonic() + LOST_S
    while len(taken) < len(sent):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{len(sent) - len(taken)} of {len(sent)} probes caused no update within {LOST_S:g} s, but each is the first of its class")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _publishing(where: Ground, per_s: float) -> AsyncIterator[None]:
    """Have a process publish so many records a second, or as many as it can, while the block runs."""
    publisher = filler(where, "8x6", ENDLESS, per_second=per_s)
    publisher.start()
    draining = asyncio.create_task(_drain(publisher))
    try:
        yield
    finally:
        publisher.kill()
        draining.cancel()
        with suppress(asyncio.CancelledError):
            await draining


async def _drain(publisher: Script) -> None:
    async for _ in publisher.samples():
        pass


async def _folded(worker: Service) -> float:
    return (await worker.metrics()).get("eddy_folded_records_total", 0.0)


async def _more_than(worker: Service, records: float) -> None:
    while await _folded(worker) <= records:
        await asyncio.sleep(0.1)


async def _caught_up(worker: Service) -> None:
    """Wait until the worker folds nothing any more."""
    await worker.settle("eddy_folded_records_total", still_s=1.0)


def main() -> None:
    """Measure and report."""
    with asked("latency", __doc__) as options:
        figures = asyncio.run(measure(options))
        conditions = f"{options.broker}, 8 partitions, {options.size(PROBES, QUICK_PROBES)} probes a load."
        report.finish("latency", figures, conditions=conditions, notes=NOTES, write=options.writes)


if __name__ == "__main__":
    main()
