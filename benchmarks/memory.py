"""Memory of a worker that is kept saturated: is it flat once its join index is full?"""

from __future__ import annotations

import asyncio
import time

from benchmarks.broker import ground
from benchmarks.contest import new_worker
from benchmarks.fill import filler
from benchmarks.options import Options
from benchmarks.processes import Service, resident_bytes, say
from benchmarks.report import Figures

MINUTES = 10.0
QUICK_MINUTES = 0.2
LOOK_EVERY_S = 2.0
ENDLESS = 10**9
SHORT_LOG = "log.retention.bytes=400000000\nlog.segment.bytes=100000000\nlog.retention.check.interval.ms=5000\n"
"""Of a partition: what the saturated run reads fits the disk many times over, but not for ten minutes."""
HORIZON, QUICK_HORIZON = 131_072, 2_000
"""Of the join index: full after a quarter of the run, so that the second half shows what grows beside it."""


async def measure(options: Options) -> Figures:
    """Publish as fast as it goes, and look at the worker's memory until time is up."""
    minutes = QUICK_MINUTES if options.quick else MINUTES
    async with ground(options.broker, options.folder / "memory", properties=SHORT_LOG) as where:
        worker, publisher = await new_worker(where, horizon=options.size(HORIZON, QUICK_HORIZON)), filler(where, "8x6", ENDLESS)
        worker.start()
        await worker.ready()
        publisher.start()
        draining = asyncio.create_task(_drain(publisher))
        try:
            looks = await _watch(worker, minutes * 60)
            found = await worker.metrics()
        finally:
            draining.cancel()
            publisher.kill()
            worker.kill()
    return _figures(looks, found)


async def _drain(publisher: object) -> None:
    async for _ in publisher.samples():  # type: ignore[attr-defined]
        pass


async def _watch(worker: Service, seconds: float) -> list[int]:
    """Resident bytes, every other second."""
    looks, began_s, said_s = [], time.monotonic(), 0.0
    while time.monotonic() - began_s < seconds:
        await asyncio.sleep(LOOK_EVERY_S)
        looks.append(resident_bytes(worker.pid))
        if time.monotonic() - said_s > 30:
            said_s = time.monotonic()
            found = await worker.metrics()
            say(f"memory: {looks[-1] / 1e6:.0f} MB after {found.get('eddy_folded_records_total', 0):,.0f} records, {found.get('eddy_index_entries', 0):,.0f} index entries")
    return looks


def _figures(looks: list[int], found: dict[str, float]) -> Figures:
    half, end = looks[len(looks) // 2], looks[-1]
    return {
        "memory_growth_second_half": (end - half) / half,
        "memory_mb_at_half": half / 1e6,
        "memory_mb_at_end": end / 1e6,
        "memory_index_entries": int(found.get("eddy_index_entries", 0)),
        "memory_records_folded": int(found.get("eddy_folded_records_total", 0)),
    }
