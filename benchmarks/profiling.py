"""Looks into a worker while it folds: which functions hold the processor, grouped by what they are for. Takes py-spy, or does nothing."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from benchmarks.contest import Course, new_worker
from benchmarks.options import BENCH_PYTHON
from benchmarks.processes import Sample, say

RATE_HZ = 250
SHOWN = 30
"""Rows of each table."""
LINE = re.compile(r":\d+\)$")
GROUPS = (
    ("checkpoints", ("stream/worker/checkpointer", "stream/fold/checkpoint", "stream/fold/parts", "stream/fold/changelog")),
    ("statistics", ("stream/worker/statistics", "stream/fold/buckets.py:statistics", "tables/class_statistics")),
    ("routing", ("stream/routing/", "stream/worker/routing_term", "agents/update_routing")),
    ("decode and read", ("stream/reading/record", "stream/reading/arm", "stream/reading/outcome", "stream/reading/query_class")),
    ("partitioning", ("stream/reading/partitioning",)),
    ("fold", ("stream/fold/",)),
    ("continuity and effects", ("stream/worker/continuity", "stream/worker/effects")),
    ("metrics and health", ("stream/metrics", "prometheus_client", "stream/health", "stream/worker/watchdog", "aiohttp/")),
    ("fetch and unpack", ("stream/record_batches", "aiokafka/consumer", "aiokafka/record", "aiokafka/protocol")),
    ("produce", ("aiokafka/producer",)),
    ("socket", ("aiokafka/conn", "aiokafka/client", "asyncio/streams", "asyncio/selector_events", "asyncio/sslproto", "stream/frames", "selectors.py")),
    ("uvloop, sockets included", ("ServiceThread._start_thread", "Worker.execute_from_commandline")),
    ("faust", ("faust/", "mode/", "stream/transport", "agents/observe")),
    ("event loop", ("asyncio/",)),
)
"""Groups and the places that belong to them; a stack goes to the group of its innermost frame that has one."""


async def profile_worker(course: Course, seconds: float) -> None:
    """Let a worker fold the topic under py-spy, and say where its time goes."""
    program = find_py_spy()
    if program is None:
        say("py-spy is not installed, so there is no profile; `make bench` installs it")
        return
    worker = await new_worker(course.where)
    worker.start()
    stacks = course.where.folder / "worker.stacks"
    try:
        first = await anext(worker.samples())
        await asyncio.to_thread(record, program, worker.pid, seconds, stacks)
        last = await anext(worker.samples())
    finally:
        worker.kill()
    say(told(stacks, first, last))


def find_py_spy() -> str | None:
    """Where py-spy is, if anywhere."""
    own = BENCH_PYTHON.with_name("py-spy")
    return str(own) if own.exists() else shutil.which("py-spy")


def record(program: str, pid: int, seconds: float, into: Path, *, gil: bool = False) -> None:
    """Sample the stacks of a process."""
    asked = {"pid": pid, "duration": max(1, round(seconds)), "rate": RATE_HZ, "format": "raw", "output": into}
    command = [program, "record", "--nonblocking", "--threads", *(["--gil"] if gil else []), *(word for name, value in asked.items() for word in (f"--{name}", str(value)))]
    subprocess.run(command, check=True, capture_output=True)


def told(stacks: Path, first: Sample, last: Sample) -> str:
    """Say where the time went: by thread, by group, by function and by line, of the innermost frames."""
    lines = stacks.read_text().splitlines()
    counted = [(line.rpartition(" ")[0].split(";"), int(line.rpartition(" ")[2])) for line in lines]
    total = sum(count for _, count in counted) or 1
    tables = {
        "by thread": added_up((frames[0].partition(":")[2].strip() or frames[0], count) for frames, count in counted),
        "by group": grouped(lines),
        "by function": added_up((LINE.sub(")", frames[-1]), count) for frames, count in counted),
        "by line": added_up((frames[-1], count) for frames, count in counted),
    }
    said = [f"{total:,} samples, {total / RATE_HZ:.1f} s of threads at work, while {last.records - first.records:,} records were folded in {last.at_s - first.at_s:.1f} s"]
    for title, table in tables.items():
        said += [title, *(f"  {count / total:6.1%}  {name}" for name, count in table.most_common(SHOWN))]
    return "\n".join(said)


def added_up(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    """Add counts up by name."""
    found: Counter[str] = Counter()
    for name, count in pairs:
        found[name] += count
    return found


def grouped(lines: Iterable[str]) -> Counter[str]:
    """Add up sampled stacks by what they are for.

    Args:
        lines: as py-spy's raw format has them: frames from outside in, `;` between them, then a space and a count.

    Example:
        >>> grouped(["main (x.py:1);fold (stream/fold/fold.py:9) 3", "main (x.py:1) 2"])
        Counter({'fold': 3, 'other': 2})
    """
    return added_up((_group(line.rpartition(" ")[0].split(";")), int(line.rpartition(" ")[2])) for line in lines)


def _group(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, places in GROUPS:
            if any(place in frame for place in places):
                return name
    return "other"
