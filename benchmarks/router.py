"""What `Router.select` and `TracePublisher.publish` cost their caller, per call, on the calling thread.

    python -m benchmarks.router --quick --broker embedded

Both run with their connections open, in the event loop that serves them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks import report
from benchmarks.broker import Ground, ground
from benchmarks.options import Options, asked
from benchmarks.processes import say
from benchmarks.report import Figures
from benchmarks.workload import QUERIES, SCENARIOS, write
from stream.client import Router, TracePublisher
from stream.records import Arm, ArmRouting, RoutingUpdate, Trace
from stream.topics import ROUTING

CALLS, QUICK_CALLS = 100_000, 2_000
CALLS_A_TURN = 50
"""Between two turns of the event loop, which deliver what was published."""
CLASSES, ARMS = 100, 6
NOTES = (
    "Times of single calls, by `perf_counter_ns`; between batches of calls the event loop delivers, so that what a call defers is not in it but its own pauses are.",
    f"The router holds {CLASSES} classes of {ARMS} arms; `_classified`: it must find the class of the query itself. Traces are of 1.5 kB.",
)


async def measure(options: Options) -> Figures:
    """Time each kind of call."""
    calls = options.size(CALLS, QUICK_CALLS)
    async with ground(options.broker, options.folder / "router") as where:
        await _publish_routes(where)
        async with Router(settings=where.settings, seed=1) as router, TracePublisher(settings=where.settings) as publisher:
            await router.ready()
            names = [f"class-{number:04}" for number in range(CLASSES)]
            traces = [msgspec.json.decode(value, type=Trace) for _, value in write(SCENARIOS["8x6"], 500, now_s=time.time()) if b'"type":"trace"' in value]
            kinds: dict[str, Callable[[int], object]] = {
                "select": lambda number: router.select("a query", query_class=names[number % CLASSES]),
                "select_classified": lambda number: router.select(QUERIES[number % len(QUERIES)]),
                "select_of_candidates": lambda number: router.select("a query", query_class=names[number % CLASSES], candidates=("model-1", "model-2")),
                "select_in_session": lambda number: router.select("a query", query_class=names[number % CLASSES], session_id=f"session-{number % 1_000}"),
                "publish": lambda number: publisher.publish(traces[number % len(traces)]),
            }
            figures: dict[str, float | int | None] = {}
            for name, call in kinds.items():
                figures |= _told(name, await _timed(call, calls, publisher))
            figures["publish_dropped"] = sum(publisher.stats.dropped.values())
            return figures


async def _timed(call: Callable[[int], object], calls: int, publisher: TracePublisher) -> list[float]:
    """Microseconds of each call, sorted."""
    taken, now = [], time.perf_counter_ns
    for number in range(calls):
        began = now()
        call(number)
        taken.append((now() - began) / 1_000)
        if number % CALLS_A_TURN == 0:
            await publisher.room()
            await asyncio.sleep(0)
    return sorted(taken)


def _told(name: str, taken_us: list[float]) -> dict[str, float | int | None]:
    middle, late = taken_us[len(taken_us) // 2], taken_us[int(len(taken_us) * 0.99)]
    say(f"{name}: {middle:.1f} us, p99 {late:.1f} us")
    return {f"{name}_us_median": middle, f"{name}_us_p99": late}


async def _publish_routes(where: Ground) -> None:
    """Publish a routing update for every class."""
    producer = AIOKafkaProducer(**where.settings.client_options)
    await producer.start()
    try:
        for number in range(CLASSES):
            update = _update(f"class-{number:04}")
            await producer.send_and_wait(ROUTING.name, msgspec.json.encode(update), key=update.query_class.encode(), partition=0)
    finally:
        await producer.stop()


def _update(query_class: str) -> RoutingUpdate:
    arms = tuple(_arm(number) for number in range(ARMS))
    return RoutingUpdate(
        query_class=query_class, fold="bench", policy="thompson", version=(1, 1), log_time_ms=0, exploration_share=0.05, interval_method="none", alpha=0.05, best_arm=None,
        reason="a benchmark", arms=arms,
    )  # fmt: skip


def _arm(number: int) -> ArmRouting:
    arm = Arm(model=f"model-{number}")
    return ArmRouting(
        id=arm.id, arm=arm, probability=1 / ARMS, mean=0.5, interval=(0.4, 0.6), effective_count=10.0, rated_count=10, count=10, cost_usd=0.01, latency_s=1.0, state="active"
    )


def main() -> None:
    """Measure and report."""
    with asked("router", __doc__) as options:
        figures = asyncio.run(measure(options))
        report.finish("router", figures, conditions=f"{options.broker}, {options.size(CALLS, QUICK_CALLS):,} calls of each kind.", notes=NOTES, write=options.writes)


if __name__ == "__main__":
    main()
