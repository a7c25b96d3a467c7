"""Looks into a worker while it folds: which functions hold the processor, grouped by what they are for. Takes py-spy, or does nothing."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from benchmarks.contest import Course, new_worker
from benchmarks.options import BENCH_PYTHON
from benchmarks.processes import Sample, say

RATE_HZ = 250
GROUPS = (
    ("checkpoints", ("stream/worker/checkpointer", "stream/fold/checkpoint", "stream/fold/parts", "stream/fold/changelog")),
    ("statistics", ("stream/worker/statistics", "stream/fold/buckets.py:statistics", "tables/class_statistics")),
    ("routing", ("stream/routing/", "stream/worker/routing_term", "agents/update_routing")),
    ("decode and read", ("stream/reading/record", "stream/reading/arm", "stream/reading/outcome", "stream/reading/query_class")),
    ("partitioning", ("stream/reading/partitioning",)),
    ("fold", ("stream/fold/",)),
    ("continuity and effects", ("stream/worker/continuity", "stream/worker/effects")),
    ("metrics and health", ("stream/metrics", "prometheus_client", "stream/health", "stream/worker/watchdog", "aiohttp/")),
    ("fetch and unpack", ("aiokafka/consumer", "aiokafka/record", "aiokafka/protocol")),
    ("produce", ("aiokafka/producer",)),
    ("socket", ("aiokafka/conn", "aiokafka/client", "asyncio/streams", "asyncio/selector_events", "asyncio/sslproto", "uvloop", "selectors.py")),
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
    """Say where the time went: groups, then the twenty costliest functions by themselves."""
    lines = stacks.read_text().splitlines()
    groups, leaves = grouped(lines), Counter[str]()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        leaves[stack.rpartition(";")[2]] += int(count)
    total = sum(groups.values()) or 1
    share = "\n".join(f"  {count / total:6.1%}  {name}" for name, count in groups.most_common())
    own = "\n".join(f"  {count / total:6.1%}  {name}" for name, count in leaves.most_common(25))
    return f"{total:,} samples while {last.records - first.records:,} records were folded\n{share}\nby function\n{own}"


def grouped(lines: Iterable[str]) -> Counter[str]:
    """Add up sampled stacks by what they are for.

    Args:
        lines: as py-spy's raw format has them: frames from outside in, `;` between them, then a space and a count.

    Example:
        >>> grouped(["main (x.py:1);fold (stream/fold/fold.py:9) 3", "main (x.py:1) 2"])
        Counter({'fold': 3, 'other': 2})
    """
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        found[_group(stack.split(";"))] += int(count)
    return found


def _group(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, places in GROUPS:
            if any(place in frame for place in places):
                return name
    return "other"
