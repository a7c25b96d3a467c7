"""How well routing chooses: replays recorded outcomes of real models through the policies, against baselines and two other bandit libraries.

python -m benchmarks.routing_quality --data ../shared/data --quick
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import off_policy_coverage
from benchmarks.false_winner import aa_false_winner
from benchmarks.off_policy_coverage import coverage
from benchmarks.options import BENCH_PYTHON
from benchmarks.processes import say
from benchmarks.routing import page
from benchmarks.routing.contestants import OURS, RIVALS, TUNING_SEEDS, Job, contest, missing_rivals, played, spent_by_ours
from benchmarks.routing.curves import curves
from benchmarks.routing.loop import end_to_end
from benchmarks.routing.scores import Result, entry
from benchmarks.routing.sets import SETS
from benchmarks.routing.timing import select_contextual_us_median, select_us_median
from stream.settings import load

SEEDS, QUICK_SEEDS = 20, 2
QUICK_LOOP_REQUESTS = 60
REPLAYS, QUICK_REPLAYS = 1_000, 27
LOGS, QUICK_LOGS = 2_000, 20
"""Of each cell of the off-policy coverage."""
T = TypeVar("T")


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing_quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDDY_DATA", "../shared/data")), help="folder of the recorded outcomes")
    parser.add_argument("--quick", action="store_true", help="few seeds; docs/benchmarks.md stays as it is")
    parser.add_argument("--only", nargs="*", choices=tuple(SETS), default=[], help="only these sets, and nothing but sets")
    parser.add_argument("--seeds", type=int, default=None, help=f"paired seeds, {SEEDS} by default")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--curves", type=Path, default=None, metavar="FILE", help="write what benchmarks.routing_pictures draws")
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="embedded", help="for the part that runs end to end")
    parser.add_argument("--rivals-python", type=Path, default=BENCH_PYTHON, help="of the environment that has MABWiser and Vowpal Wabbit")
    parser.add_argument("--rounds", type=int, default=None, help=argparse.SUPPRESS)  # what `make bench` may give to all
    given = parser.parse_args()
    given.data = given.data.resolve()  # rivals run in the checkout
    given.seeds = given.seeds or (QUICK_SEEDS if given.quick else SEEDS)
    return given


def by_set(names: Sequence[str], seeds: Sequence[int], given: argparse.Namespace, pool: ProcessPoolExecutor) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let everybody play every set; returns the sets' entries, and their curves.

    1. Ours play, and on the seeds that rivals are tuned on.
    2. Rivals play, tuned to what ours spent there.
    """
    jobs = [Job(name=name, contestant=each, data=given.data, seeds=tuple(seeds)) for name in names for each in OURS]
    tuning = {job: replace(job, seeds=TUNING_SEEDS) for job in jobs if job.contestant == OURS[0]}
    missing = missing_rivals(given.rivals_python)
    for rival, package in missing.items():
        say(f"{rival} cannot play: {package} is not installed for {given.rivals_python}; `make bench` sets up .venv/bench with it")
    results: dict[tuple[str, str], Result | None] = {(name, rival): None for name in names for rival in RIVALS}
    results |= {(job.name, job.contestant): result for job, result in _done(pool, played, jobs)}
    targets = {job.name: target for job, target in _done(pool, spent_by_ours, tuning.values())} if len(missing) < len(RIVALS) else {}
    playing = [each for each in RIVALS if each not in missing]
    rivals = [Job(name=name, contestant=each, data=given.data, seeds=tuple(seeds), target=targets[name], python=given.rivals_python) for name in names for each in playing]
    results |= {(job.name, job.contestant): result for job, result in _done(pool, played, rivals)}
    entries, drawn = {}, {}
    for name in names:
        met = contest(Job(name=name, contestant=OURS[0], data=given.data, seeds=tuple(seeds)), seeds)
        of_set = {each: results[name, each] for each in (*OURS, *RIVALS)}
        entries[name], drawn[name] = entry(met, of_set, ours=OURS[0]), curves(met, of_set)
        _tell(name, entries[name])
    return entries, drawn


def _done(pool: ProcessPoolExecutor, work: Callable[[Job], T], jobs: Iterable[Job]) -> Iterator[tuple[Job, T]]:
    """Jobs as they are done, with progress."""
    waiting = {pool.submit(work, job): job for job in jobs}
    for number, future in enumerate(as_completed(waiting), 1):
        job, result = waiting[future], future.result()
        say(f"{number} of {len(waiting)}: {job.name}, {job.contestant}, {len(job.seeds)} seeds")
        yield job, result


def _tell(name: str, figures: Mapping[str, Any]) -> None:
    shown = page.rounded({each: figures[each] for each in (*page.COLUMNS, *page.BESIDE) if figures.get(each) is not None})
    say(f"{name}: " + ", ".join(f"{each} {value}" for each, value in shown.items()))


def coverage_of(data: Path, seeds: int) -> dict[str, Any]:
    """How often off-policy intervals hold the truth: the lowest and the highest cell."""
    found = coverage(off_policy_coverage.load(data), seeds=seeds)
    return {name: found[name] for name in ("ope_coverage_fixed_n", "ope_coverage_anytime")}


def beside_sets(given: argparse.Namespace, pool: ProcessPoolExecutor, folder: Path) -> dict[str, Any]:
    """The figures that belong to no set; what is timed comes when nothing else runs."""
    winners = pool.submit(aa_false_winner, QUICK_REPLAYS if given.quick else REPLAYS)
    covered = pool.submit(coverage_of, given.data, QUICK_LOGS if given.quick else LOGS)
    figures: dict[str, Any] = {"aa_false_winner": winners.result(), **covered.result()}
    settings = load(bootstrap="127.0.0.1:9", data_dir=folder)
    figures |= {"select_us_median": select_us_median(settings), "select_contextual_us_median": select_contextual_us_median(settings)}
    requests = QUICK_LOOP_REQUESTS if given.quick else None
    return figures | {"end_to_end": asyncio.run(end_to_end(given.data, folder, broker=given.broker, requests=requests))}


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that goes at the end, unless something failed."""
    folder = Path(tempfile.mkdtemp(prefix="eddy-bench-routing-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure and report."""
    given = options()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of every process of the pool: matrices are small
    seeds, names = range(given.seeds), given.only or list(SETS)
    with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
        sets, drawn = by_set(names, seeds, given, pool)
        figures: dict[str, Any] = {"sets": sets}
        if given.curves is not None:
            given.curves.write_text(json.dumps(drawn))
        if not given.only:
            with _folder() as folder:
                figures |= beside_sets(given, pool, folder)
    conditions = f"{given.seeds} paired seeds."
    page.finish("routing_quality", figures, conditions=conditions, notes=page.NOTES, write=not given.quick and not given.only and given.seeds == SEEDS)


if __name__ == "__main__":
    main()
