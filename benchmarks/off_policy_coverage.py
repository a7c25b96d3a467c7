"""How often off-policy intervals hold the truth: on complete matrices of outcomes, where the truth is known.

    python -m benchmarks.off_policy_coverage [--seeds 2000]

Every log draws its queries with replacement, and an arm for each by a policy of the registry that has seen a small warm-up log;
each target's truth is its mean over the whole matrix. The last line is JSON. A cell is a target on a set, for each of which many logs are
made; cells whose effective sample is on average below what the estimates themselves ask for do not count.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream.records import Arm
from stream.routing.decision import decide
from stream.routing.evidence import ArmEvidence, ClassEvidence, Tally
from stream.routing.off_policy import LEAST_EFFECTIVE, METHODS, effective_sample, quantity
from stream.routing.off_policy_bounds import Floats, anytime_bounds
from stream.routing.off_policy_draws import Draws, Ints, Target
from stream.routing.overrides import Overrides
from stream.routing.settings import RoutingSettings

SETS = {"paretobandit_k3": 500, "routellm_mmlu": 1_000, "bfcl": 4_000, "intercode_sql": 4_000}
"""Draws in one log: so many that the target with the least effective sample has some hundred."""
WARM_UP = 20
"""Uniform draws an arm, which the logging policy has seen."""
LOGGING = RoutingSettings(policy="thompson", exploration_share=0.3)
MOST_ARMS = 12
"""Arms of a set that has more: every so many-th by mean reward, the best and the worst among them."""
SEEDS = 2_000
"""Logs a cell: coverage is then known to within .01 (two standard deviations at .95)."""
QUICK_SEEDS = 50

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What every arm earns on every query.

    Shapes:
        group: (queries,), the query's class by number. rewards: (queries, arms).
    """

    group: Ints
    rewards: Floats

    @property
    def groups(self) -> int:
        return int(self.group.max()) + 1


def load(folder: Path, names: Iterable[str] = SETS) -> dict[str, Matrix]:
    """Read the sets.

    Raises:
        FileNotFoundError: a file is missing.
    """
    return {name: _matrix(folder / f"{name}.queries.jsonl.gz", folder / f"{name}.outcomes.jsonl.gz") for name in names}


def _matrix(queries: Path, outcomes: Path) -> Matrix:
    classes = {row["query_id"]: row["cls"] for row in _lines(queries)}
    rows = list(_lines(outcomes))
    arms = sorted({_arm(row) for row in rows})
    known: dict[str, dict[str, float]] = {}
    for row in rows:
        known.setdefault(row["query_id"], {})[_arm(row)] = row["reward"]
    complete = [query for query, found in known.items() if len(found) == len(arms) and query in classes]
    rewards = np.array([[known[query][arm] for arm in arms] for query in complete])
    ranked = np.argsort(-rewards.mean(axis=0))
    chosen = ranked[np.linspace(0, len(arms) - 1, min(len(arms), MOST_ARMS)).round().astype(int)]
    _, group = np.unique([classes[query] for query in complete], return_inverse=True)
    return Matrix(group=group.astype(np.int64), rewards=rewards[:, np.sort(chosen)])


def _arm(row: Mapping[str, Any]) -> str:
    return f"{row['model']}|{row.get('agent', '')}"


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


# ---- policies


def shares_of(matrix: Matrix, settings: RoutingSettings, *, seed: int, warm_up: int = WARM_UP) -> Floats:
    """Let a policy of the registry decide for every class, after uniform draws; shape (classes, arms)."""
    rng, arms = np.random.default_rng(seed), matrix.rewards.shape[1]
    query, arm = rng.integers(len(matrix.group), size=warm_up * arms), rng.integers(arms, size=warm_up * arms)
    rewards = matrix.rewards[query, arm]
    prior = [Tally(*_sums(rewards[arm == one])).capped(settings.pooled_cap) for one in range(arms)]
    return np.array([_decided(matrix.group[query] == group, arm, rewards, prior, settings) for group in range(matrix.groups)])


def _decided(here: Any, arm: Ints, rewards: Floats, prior: list[Tally], settings: RoutingSettings) -> list[float]:
    evidence = []
    for one, pooled in enumerate(prior):
        scores = rewards[here & (arm == one)]
        graded = bool(np.any((scores > 0) & (scores < 1)))
        evidence.append(
            ArmEvidence(arm=Arm(model=f"m{one:02}"), id=f"m{one:02}", drawn=Tally(*_sums(scores)), prior=pooled, graded=graded, count=len(scores), by_source=(len(scores), 0, 0, 0))
        )
    update = decide(ClassEvidence(query_class="c", arms=tuple(evidence)), settings=settings, overrides=Overrides(settings.arm_fields))
    shares = np.array([one.probability for one in update.arms])
    return list(shares / shares.sum())


def _sums(scores: Floats) -> tuple[float, float, float]:
    return float(len(scores)), float(scores.sum()), float((scores**2).sum())


def targets_of(matrix: Matrix) -> dict[str, Floats]:
    """Five policies that are no function of the logs they are judged on; shape (classes, arms) each."""
    arms, groups = matrix.rewards.shape[1], matrix.groups
    means = matrix.rewards.mean(axis=0)
    best, middle = int(np.argmax(means)), int(np.argsort(means)[arms // 2])
    fixed = np.eye(arms)
    return {
        "uniform": np.full((groups, arms), 1 / arms),
        "best arm": np.tile(fixed[best], (groups, 1)),
        "middle arm": np.tile(fixed[middle if middle != best else int(np.argmin(means))], (groups, 1)),
        "thompson": shares_of(matrix, RoutingSettings(policy="thompson"), seed=1_001, warm_up=4 * WARM_UP),
        "ucb": shares_of(matrix, RoutingSettings(policy="ucb"), seed=1_002, warm_up=4 * WARM_UP),
    }


# ---- coverage


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One target on one set.

    Attributes:
        effective: sample, on average.
        fixed: by method, the share of logs whose interval for a fixed length holds the truth.
        anytime: the share of logs in which no bound ever misses it, after any draw.
        width: mean width of the doubly robust interval.
        anytime_width: of the anytime-valid one, at the log's end.
    """

    effective: float
    fixed: dict[str, float]
    anytime: float
    width: float
    anytime_width: float


def cell_of(matrix: Matrix, logging: Floats, wanted: Floats, *, seeds: int, draws: int) -> Cell:
    """Make logs, and count how often their intervals hold the truth."""
    truth = float(np.mean(np.sum(matrix.rewards * wanted[matrix.group], axis=1)))
    found = np.array([_one_log(matrix, logging, wanted, truth, np.random.default_rng([seed, 77]), draws) for seed in range(seeds)])
    mean = found.mean(axis=0)
    return Cell(effective=mean[0], fixed=dict(zip(METHODS, map(float, mean[1:4]), strict=True)), anytime=float(mean[4]), width=float(mean[5]), anytime_width=float(mean[6]))


def _one_log(matrix: Matrix, logging: Floats, wanted: Floats, truth: float, rng: np.random.Generator, count: int) -> tuple[float, ...]:
    drawn, target = make_log(matrix, logging, wanted, rng, count)
    weights = target.shares[target.row, drawn.arm] / drawn.propensity
    said = quantity(drawn, target, weights, drawn.reward, is_score=True)
    held = [said.target[name].interval[0] <= truth <= said.target[name].interval[1] for name in METHODS]
    low, high = anytime_bounds(weights, drawn.reward, alpha=0.05)
    robust = said.target[METHODS[0]].interval
    return effective_sample(weights), *held, bool(np.all((low <= truth) & (truth <= high))), robust[1] - robust[0], float(high[-1] - low[-1])


def make_log(matrix: Matrix, logging: Floats, wanted: Floats, rng: np.random.Generator, count: int) -> tuple[Draws, Target]:
    """Draw queries with replacement, and an arm for each by the logging policy."""
    query = rng.integers(len(matrix.group), size=count)
    group = matrix.group[query]
    arm = np.minimum((np.cumsum(logging, axis=1)[group] < rng.random(count)[:, None]).sum(axis=1), logging.shape[1] - 1)
    unknown = np.full(count, np.nan)
    drawn = Draws(
        groups=tuple(map(str, range(matrix.groups))),
        arms=tuple(f"m{one:02}" for one in range(logging.shape[1])),
        group=group,
        arm=arm,
        propensity=logging[group, arm],
        reward=matrix.rewards[query, arm],
        cost_usd=unknown,
        latency_s=unknown,
    )
    return drawn, Target(shares=wanted, supported=np.ones(len(wanted)), row=group)


def coverage(sets: Mapping[str, Matrix], *, seeds: int = SEEDS, progress: Progress | None = None) -> dict[str, Any]:
    """Measure every target on every set.

    Args:
        sets: the matrices, see `load`.
        seeds: logs a cell.
        progress: is told how many cells are done, of how many.

    Returns:
        `ope_coverage_fixed_n` and `ope_coverage_anytime`, the lowest and highest cell of each; `ope_cells`, all of them.
    """
    cells: dict[str, Cell] = {}
    for name, matrix in sets.items():
        logging = shares_of(matrix, LOGGING, seed=7)
        for target, wanted in targets_of(matrix).items():
            cells[f"{name}/{target}"] = cell_of(matrix, logging, wanted, seeds=seeds, draws=SETS.get(name, 2_000))
            if progress:
                progress(len(cells), 5 * len(sets))
    counted = [cell for cell in cells.values() if cell.effective >= LEAST_EFFECTIVE]
    held = [share for cell in counted for share in cell.fixed.values()]
    anytime = [cell.anytime for cell in counted]
    return {
        "ope_coverage_fixed_n": [min(held), max(held)],
        "ope_coverage_anytime": [min(anytime), max(anytime)],
        "ope_cells_counted": len(counted),
        "ope_cells": {name: {field: getattr(cell, field) for field in cell.__slots__} for name, cell in cells.items()},
    }


def figures(data: Path, *, quick: bool) -> dict[str, Any]:
    """The figures for `benchmarks.routing_quality`."""
    return coverage(load(data), seeds=QUICK_SEEDS if quick else SEEDS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of off-policy intervals on complete matrices.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EDDY_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    try:
        sets = load(options.data)
    except FileNotFoundError as exc:
        parser.exit(1, f"{exc.filename} is not there, but the matrices are needed; set EDDY_DATA to their folder (docs/benchmarks.md says where they come from)\n")
    report = coverage(sets, seeds=options.seeds, progress=lambda done, total: print(f"{done} of {total} cells", file=sys.stderr))
    for name, cell in report["ope_cells"].items():
        fixed = " ".join(f"{share:.3f}" for share in cell["fixed"].values())
        print(f"{name:30} effective {cell['effective']:6.0f}  {' '.join(METHODS)} {fixed}  anytime {cell['anytime']:.3f}  widths {cell['width']:.3f} {cell['anytime_width']:.3f}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
