"""What a learning cycle costs, by what is new and by what is old: the real process over a real archive, without a broker.

    python -m benchmarks.cycle [--quick]

Every trace has five steps. A cycle's time is that of its whole process, from its start to its end, with an evaluator that answers at once: so it
is what mining, proposing, judging and promoting take. The last line is JSON: `s_at_10k`, `s_at_100k`, `peak_mb`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.processes import say
from stream.archive.archive import Archive
from stream.archive.intake import Rules
from stream.archive.restore import ARCHIVE_FILE
from stream.cycles.ledger import Ledger
from stream.cycles.plan import Plan
from stream.cycles.process import run_process
from stream.reading.query_class import classifier
from stream.records import CycleRequested
from stream.settings import load

NEW, QUICK_NEW = (1_000, 10_000, 30_000, 100_000), (1_000, 3_000)
OLD, QUICK_OLD = 100_000, 3_000
"""Traces that were mined by an earlier cycle, before 10,000 new ones come."""
CHUNK = 5_000
RATED_SHARE = 0.3
TOOLS = ("search", "read_file", "run_sql", "calculator", "browser", "python")
AGENTS = ("researcher", "coder", "analyst")
QUERIES = 4_000
"""Different ones of each class: most come again, so that answers are compared."""
START_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """A record as the archive takes it."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def rows(first: int, count: int) -> Iterator[Row]:
    """Write traces, numbered on; the same number is the same trace for ever."""
    for number in range(first, first + count):
        key = b"%016x" % number
        yield Row(number, START_MS + 10 * number, key, msgspec.json.encode(_trace(number, key.decode())))


def ratings(first: int, count: int, traces: int) -> Iterator[Row]:
    """Write ratings of traces drawn among the first, numbered on."""
    for number in range(first, first + count):
        key = b"%016x" % random.Random(number).randrange(traces)
        said = {"type": "feedback", "trace_id": key.decode(), "rater": "late", "rater_kind": "human", "score": 0.9, "given_at": START_MS / 1000 + number / 100}
        yield Row(number, START_MS + 10 * number, key, msgspec.json.encode(said))


def _trace(number: int, trace_id: str) -> dict[str, Any]:
    rng = random.Random(number)
    group, agent, started = rng.randrange(8), rng.choice(AGENTS), START_MS / 1000 + number / 100
    good = rng.random() < 0.7
    query = f"Question {rng.randrange(QUERIES)} of topic {group}: how many rows does table {rng.randrange(10_000)} have, and why do they differ from last week's?"
    trace = {
        "trace_id": trace_id, "query": query, "query_class": f"topic-{group}", "agent": agent, "model": f"model-{rng.randrange(4)}",
        "steps": [_step(rng, started + place, good) for place in range(5)], "result": f"There are {rng.randrange(10**6)} rows. " * 6, "outcome": "success" if good else "failure",
        "started_at": started, "ended_at": started + 6.0, "total_tokens": 800, "total_latency_seconds": 6.0,
    }  # fmt: skip
    return trace | ({"feedback": round(rng.uniform(0.7, 1.0) if good else rng.uniform(0.0, 0.5), 3)} if rng.random() < RATED_SHARE else {})


def _step(rng: random.Random, at: float, good: bool) -> dict[str, Any]:
    tool = rng.choice(TOOLS[:3] if good else TOOLS)
    return {
        "step_type": "tool_call", "timestamp": at, "duration_seconds": 0.8,
        "input": {"tool": tool, "arguments": {"text": "x" * rng.randrange(20, 120)}},
        "output": {"success": good or rng.random() < 0.2, "result": "y" * rng.randrange(20, 200)},
    }  # fmt: skip


async def archive_rows(folder: Path, first: int, count: int, written: Callable[[int, int], Iterator[Row]] = rows) -> None:
    """Archive and index records, as the learner does."""
    archive = await Archive.open(folder / ARCHIVE_FILE, Rules(partitions=1, max_bytes=1_000_000, classify=classifier("seed")))
    try:
        for start in range(first, first + count, CHUNK):
            await archive.append({0: list(written(start, min(CHUNK, first + count - start)))})
            await archive.index()
    finally:
        await archive.close()


async def cycle(folder: Path, cycle_id: str) -> tuple[float, int, str]:
    """Have a cycle run as the learner does; returns its seconds, the most bytes that it held, and how it ended."""
    plan = Plan.of(load(data_dir=folder, evaluator="benchmarks.evaluating:always_alike"))
    with Ledger(plan.ledger, time.time) as ledger:
        ledger.request(CycleRequested(cycle_id=cycle_id, trigger="benchmark", requested_at=time.time()))
        ended = await run_process(plan, cycle_id)
        state = ledger.cycle(cycle_id).state
        said = ledger.detail(cycle_id, state).get("said", "")
        if ended.status or not state.is_end or state == "aborted":
            raise RuntimeError(f"the cycle is {state} ({said}), status {ended.status} {ended.overrun}; see {folder / 'logs'}")
    return ended.seconds, ended.peak_bytes, f"{state}: {said}"


async def measure(folder: Path, *, new: tuple[int, ...], old: int) -> dict[str, float]:
    """Measure the curve: first by what is new, then ten thousand new ones, and ratings, behind many old."""
    figures, peak = {}, 0
    for count in new:
        here = folder / str(count)
        await archive_rows(here, 0, count)
        seconds, held, said = await cycle(here, "first")
        figures[f"s_at_{count // 1000}k"], peak = seconds, max(peak, held)
        say(f"{count:>7,} new traces: {seconds:6.2f} s, {seconds / count * 1e6:6.1f} µs a trace, {held / 1e6:4.0f} MB ({said})")
        shutil.rmtree(here)
    here = folder / "old"
    await archive_rows(here, 0, old)
    await cycle(here, "earlier")
    fresh = min(10_000, new[-1])
    await archive_rows(here, old, fresh)
    seconds, held, said = await cycle(here, "later")
    say(f"{fresh:>7,} new traces behind {old:,} old ones: {seconds:6.2f} s, {held / 1e6:4.0f} MB ({said})")
    await archive_rows(here, old + fresh, fresh, lambda first, count: ratings(first, count, old))
    late_s, late_held, said = await cycle(here, "rated")
    say(f"{fresh:>7,} ratings of {old:,} traces that were mined before: {late_s:6.2f} s, {late_held / 1e6:4.0f} MB ({said})")
    behind = f"{fresh // 1000}k_behind_{old // 1000}k"
    return figures | {f"s_at_{behind}": seconds, f"s_at_{behind}_rated_late": late_s, "peak_mb": max(peak, held, late_held) / 1e6}


def main() -> None:
    """Measure, and print the last line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cycle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="eddy-cycle-"))
    try:
        figures = asyncio.run(measure(folder, new=QUICK_NEW if options.quick else NEW, old=QUICK_OLD if options.quick else OLD))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
