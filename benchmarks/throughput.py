"""Traces a second of one worker with all that it does, beside a plain loop, Faust as one would write it, Quix Streams and Bytewax.

    python -m benchmarks.throughput --quick --broker kafka

All of them read the same topic on the same broker, in turn; every ratio is the median over rounds of what stood side by side in one.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import memory, report
from benchmarks.broker import ground
from benchmarks.contest import Contestant, Course, Eddy, Learner, OtherLoop, Run, alternately
from benchmarks.fill import fill
from benchmarks.options import BENCH_PYTHON, Options, asked
from benchmarks.processes import say
from benchmarks.profiling import profile_worker
from benchmarks.report import Figures, median, spread

PARTS = ("8", "100", "unnamed", "others", "memory")
TRACES, QUICK_TRACES = 400_000, 20_000
CAP_S = 20.0
"""Longest turn of a slow contestant."""
NOTES = (
    "A rate is taken between a contestant's first chunk and its last; `_best` is the best of all rounds, ratios are medians over rounds of two that stood side by side.",
    "A trace is 1.5 kB; a fifth of them are rated by a record of its own later, whose cost counts as the trace's. `_spread` is (greatest - least) / median.",
    ("The plain loop is aiokafka's `getmany` and `orjson.loads`: it keeps nothing. Faust, Quix Streams and Bytewax keep running totals by class and model and a hopping window"
    " (60 s, every 10 s) by class, with changelogs (Bytewax: recovery snapshots every second); Quix Streams must regroup by class, which goes through a topic."),
    "Broker and clients share the cores: CPU µs a trace say what a wall-clock ratio cannot.",
)


async def measure(options: Options) -> Figures:
    """Run all parts."""
    figures: dict[str, float | int | None] = {}
    if options.runs("8") or options.runs("others"):
        figures |= await _eight_classes(options)
    for part, scenario, suffix in (("100", "100x6", "_100_classes"), ("unnamed", "8x6-unnamed", "_unnamed")):
        if options.runs(part):
            figures |= await _pair(options, scenario, suffix)
    if options.runs("memory"):
        figures |= await memory.measure(options)
    return figures


async def _eight_classes(options: Options) -> Figures:
    contestants: list[Contestant] = [OtherLoop("plain_loop"), Eddy(), Eddy(learner=True), Learner()]
    others = _others() if options.runs("others") else []
    runs = await _course(options, "8x6", [*contestants, *others], once=frozenset(other.name for other in others))
    return _against_plain(runs, "") | _together(runs) | _against_others(runs)


async def _pair(options: Options, scenario: str, suffix: str) -> Figures:
    return _against_plain(await _course(options, scenario, [OtherLoop("plain_loop"), Eddy()]), suffix)


def _others() -> list[OtherLoop]:
    others = [OtherLoop("naive_faust")]
    for name, package in (("quix", "quixstreams"), ("bytewax_flow", "bytewax")):
        if _is_installed(package):
            others.append(OtherLoop(name, str(BENCH_PYTHON)))
        else:
            say(f"{package} is not installed in {BENCH_PYTHON.parents[1]}, so it is left out; `make bench` installs it where there is a wheel for this Python")
    return others


def _is_installed(package: str) -> bool:
    return BENCH_PYTHON.exists() and subprocess.run([BENCH_PYTHON, "-c", f"import {package}"], check=False, capture_output=True).returncode == 0


async def _course(options: Options, scenario: str, contestants: Sequence[Contestant], *, once: frozenset[str] = frozenset()) -> dict[str, list[Run]]:
    """Fill a topic and let the contestants take turns on it."""
    traces = options.size(TRACES, QUICK_TRACES)
    folder: Path = options.folder / scenario
    async with ground(options.broker, folder) as where:
        records = await fill(where, scenario, traces)
        course = Course(where=where, records=records, traces=traces, cap_s=options.size(int(CAP_S), 5))
        if options.profile_s:
            await profile_worker(course, options.profile_s)
        return await alternately(list(contestants), course, rounds=options.rounds, once=once)


def _against_plain(runs: dict[str, list[Run]], suffix: str) -> dict[str, float | int | None]:
    """Compare the worker alone with the plain loop, round by round."""
    pairs = list(zip(runs["eddy"], runs["plain_loop"], strict=True))
    ratios = [eddy.traces_per_s / plain.traces_per_s for eddy, plain in pairs]
    cpu_ratios = [eddy.cpu_us("worker") / plain.cpu_us("loop") for eddy, plain in pairs]
    found = [run.found["eddy_checkpoint_bytes_total"] / (run.found["eddy_folded_records_total"] * run.traces_share) for run in runs["eddy"]]
    published = [run.found["eddy_statistics_published_bytes_total"] / (run.found["eddy_folded_records_total"] * run.traces_share) for run in runs["eddy"]]
    return {
        f"ratio_vs_plain_loop{suffix}": median(ratios),
        f"ratio_vs_plain_loop{suffix}_spread": spread(ratios),
        f"cpu_ratio_vs_plain_loop{suffix}": median(cpu_ratios),
        f"cpu_ratio_vs_plain_loop{suffix}_spread": spread(cpu_ratios),
        f"traces_per_s_best{suffix}": max(run.traces_per_s for run in runs["eddy"]),
        f"plain_loop_traces_per_s_best{suffix}": max(run.traces_per_s for run in runs["plain_loop"]),
        f"worker_cpu_us_per_trace{suffix}": median(run.cpu_us("worker") for run in runs["eddy"]),
        f"plain_loop_cpu_us_per_trace{suffix}": median(run.cpu_us("loop") for run in runs["plain_loop"]),
        f"broker_cpu_us_per_trace{suffix}": median(run.cpu_us("broker") for run in runs["eddy"]),
        f"changelog_bytes_per_trace{suffix}": median(found),
        f"statistics_bytes_per_trace{suffix}": median(published),
    }


def _together(runs: dict[str, list[Run]]) -> dict[str, float | int | None]:
    """What the learner takes, alone and beside the worker."""
    rounds = list(zip(runs["eddy_and_learner"], runs["plain_loop"], runs["learner"], runs["eddy"], strict=True))
    return {
        "cpu_ratio_all_processes": median(both.cpu_us() / plain.cpu_us("loop") for both, plain, _, _ in rounds),
        "ratio_vs_plain_loop_with_learner": median(both.traces_per_s / plain.traces_per_s for both, plain, _, _ in rounds),
        "archive_ratio_to_fold": median(learner.traces_per_s / eddy.traces_per_s for _, _, learner, eddy in rounds),
        "archive_traces_per_s_best": max(run.traces_per_s for run in runs["learner"]),
        "learner_cpu_us_per_trace": median(run.cpu_us("learner") for run in runs["learner"]),
        "learner_cpu_us_per_trace_beside_worker": median(run.cpu_us("learner") for run in runs["eddy_and_learner"]),
        "worker_cpu_us_per_trace_beside_learner": median(run.cpu_us("worker") for run in runs["eddy_and_learner"]),
    }


def _against_others(runs: dict[str, list[Run]]) -> dict[str, float | int | None]:
    figures: dict[str, float | int | None] = {}
    for name, label in (("naive_faust", "naive_faust"), ("quix", "quix"), ("bytewax_flow", "bytewax")):
        if not runs.get(name):
            figures[f"ratio_vs_{label}"] = None
            continue
        other = runs[name][0]
        figures[f"ratio_vs_{label}"] = runs["eddy"][0].traces_per_s / other.traces_per_s
        figures |= {f"{label}_traces_per_s": other.traces_per_s, f"{label}_cpu_us_per_trace": other.cpu_us("loop")}
    return figures


def main() -> None:
    """Measure and report."""
    with asked("throughput", __doc__, parts=PARTS) as options:
        began_s = time.monotonic()
        figures = asyncio.run(measure(options))
        say(f"done in {time.monotonic() - began_s:.0f} s")
        conditions = f"{options.broker}, 8 partitions, {options.size(TRACES, QUICK_TRACES):,} traces, {options.rounds} rounds."
        report.finish("throughput", figures, conditions=conditions, notes=NOTES, write=options.writes)


if __name__ == "__main__":
    main()
