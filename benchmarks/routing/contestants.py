"""Lets ours and its rivals play a set's seeds; each call is whole in itself, so that it can run in a process of its own."""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.options import BENCH_PYTHON
from benchmarks.routing import metrics
from benchmarks.routing.matrix import Matrix
from benchmarks.routing.players import Maker
from benchmarks.routing.replay import Played, play
from benchmarks.routing.scores import Contest, Result, spends
from benchmarks.routing.sets import SETS, Rounds

OURS = ("contextual", "inverse_gap", "thompson")
"""Names in `benchmarks.routing.ours`; the first is the one that is scored."""
RIVALS = ("mabwiser_linucb", "mabwiser_thompson", "vw")
NEEDS = {"mabwiser_linucb": "mabwiser", "mabwiser_thompson": "mabwiser", "vw": "vowpalwabbit"}
TUNING_SEEDS = (1_000, 1_001, 1_002)
"""Rivals' prices are tuned on these; no figure is of them."""
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One contestant on one set.

    Attributes:
        name: of the set.
        contestant: one of `OURS` or `RIVALS`.
        data: the folder of the recorded outcomes.
        seeds: to play.
        target: what a rival is to spend of the ceiling; None: nothing is tuned.
        python: what rivals run in.
    """

    name: str
    contestant: str
    data: Path
    seeds: tuple[int, ...]
    target: float | None = None
    python: Path = BENCH_PYTHON


def contest(job: Job, seeds: Sequence[int]) -> Contest:
    """The set as these seeds play it."""
    routed = SETS[job.name]
    matrix = routed.matrix(job.data)
    return Contest(routed=routed, matrix=matrix, rounds=[routed.rounds(matrix, seed) for seed in seeds])


def played_by_ours(job: Job) -> Result:
    """Let one of our policies play."""
    maker: Maker = getattr(importlib.import_module("benchmarks.routing.ours"), job.contestant)
    met = contest(job, job.seeds)
    played = [play(met.routed, met.matrix, rounds, maker, seed) for rounds, seed in zip(met.rounds, job.seeds, strict=True)]
    ranks = [_ranked(met.matrix, rounds, each) for rounds, each in zip(met.rounds, played, strict=True)]
    return Result(chosen=np.array([each.chosen for each in played]), ranks=ranks)


def _ranked(matrix: Matrix, rounds: Rounds, played: Played) -> dict[str, float]:
    if not len(rounds.ranked):
        return {}
    strong, weak = matrix.reward[rounds.ranked].T
    return {"apgr": metrics.apgr(played.gaps, strong, weak), "cpt80": metrics.cpt80(played.gaps, strong, weak)}


def spent_by_ours(job: Job) -> float | None:
    """What ours spends of the ceiling on the seeds that rivals are tuned on."""
    met = contest(job, job.seeds)
    spent = spends(met, played_by_ours(job))
    return None if spent is None or met.routed.ceiling.most is None else float(spent.mean() / met.routed.ceiling.most)


def played_by_rival(job: Job) -> Result:
    """Let a rival play, in the benchmarks' own environment.

    Raises:
        CalledProcessError: it failed; what it said went to stderr.
    """
    asked = {"set": job.name, "rival": job.contestant, "data": str(job.data), "seeds": job.seeds, "tuning_seeds": TUNING_SEEDS, "target": job.target}
    command = [str(job.python), "-m", "benchmarks.contestants.bandits"]
    done = subprocess.run(command, cwd=CHECKOUT, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Result(chosen=np.array(answer["chosen"]), ranks=answer["ranks"])


def played(job: Job) -> Result:
    """Let the contestant play."""
    return played_by_ours(job) if job.contestant in OURS else played_by_rival(job)


def missing_rivals(python: Path) -> dict[str, str]:
    """Rivals that cannot play in an environment, each with the package that is missing."""
    return {rival: package for rival, package in NEEDS.items() if not _has(python, package)}


def _has(python: Path, package: str) -> bool:
    return python.exists() and subprocess.run([str(python), "-c", f"import {package}"], capture_output=True, check=False).returncode == 0
