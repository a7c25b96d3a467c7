"""MABWiser's Thompson sampling and LinUCB, and Vowpal Wabbit, on the same rounds: what the benchmark's own environment runs.

    .venv/bench/bin/python -m benchmarks.contestants.bandits

Reads one job as JSON from stdin, and writes as its last line what each seed chose. Each of them is given reward - price x
spend / ceiling for the arm it chose, where the price is tuned on other seeds until it spends what it is to spend.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.routing import metrics
from benchmarks.routing.matrix import Array, Matrix
from benchmarks.routing.sets import SETS, Rounds, RoutingSet
from stream.routing.features import features

WORD = re.compile(r"\w+")
ALPHA = 0.6
"""LinUCB's width: of .3, .6 and 1 the best on other seeds."""
VW = "--cb_explore_adf --squarecb --cb_type mtr -q CA -q UA --quiet"
"""Vowpal Wabbit: inverse-gap weighting over a linear model of the class and the words, for each arm its own weights."""
STEPS = 7
HIGHEST_PRICE = 8.0
"""Reward for spending the ceiling once."""


class Rival(Protocol):
    """A bandit that chooses, learns a payoff, and ranks."""

    def add_arm(self) -> None:
        """Have one more arm."""

    def choose(self, query: int) -> int:
        """Choose an arm."""

    def learn(self, payoff: float) -> None:
        """Learn what the last choice paid."""

    def gap(self, query: int) -> float:
        """By how much arm 0 is held to be better than arm 1."""


class Thompson:
    """MABWiser's Thompson sampling: no context, Beta posteriors; a payoff counts as a success as often as it is great.

    Source of the coin: S. Agrawal, N. Goyal, Analysis of Thompson sampling for the multi-armed bandit problem (COLT 2012), section 2.
    """

    def __init__(self, _: Features, arms: int, seed: int) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        self._mab = MAB(arms=list(range(arms)), learning_policy=LearningPolicy.ThompsonSampling(), seed=seed)
        self._coin, self._arms, self._fitted, self._last = random.Random(seed), arms, False, 0

    def add_arm(self) -> None:
        self._mab.add_arm(self._arms)
        self._arms += 1

    def choose(self, query: int) -> int:
        self._last = self._mab.predict() if self._fitted else self._coin.randrange(self._arms)
        return self._last

    def learn(self, payoff: float) -> None:
        success = [int(self._coin.random() < payoff)]
        (self._mab.partial_fit if self._fitted else self._mab.fit)([self._last], success)
        self._fitted = True

    def gap(self, query: int) -> float:
        return 0.0


class LinUCB:
    """MABWiser's LinUCB. Its regressions are called without `partial_fit`, which copies those of all arms at every call."""

    def __init__(self, features: Features, arms: int, seed: int) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        self._vectors, self._arms, self._last, self._turns = features.vectors, arms, (0, 0), random.Random(seed)
        self._mab = MAB(arms=list(range(arms)), learning_policy=LearningPolicy.LinUCB(alpha=ALPHA), seed=seed)
        self._mab.fit([0], [0.0], [np.zeros(self._vectors.shape[1])])
        self._models = self._mab._imp.arm_to_model

    def add_arm(self) -> None:
        self._mab.add_arm(self._arms)
        self._arms += 1

    def choose(self, query: int) -> int:
        vector = self._vectors[query : query + 1]
        bounds = [float(self._models[arm].predict(vector)[0]) for arm in range(self._arms)]
        most = max(bounds)
        self._last = query, self._turns.choice([arm for arm, bound in enumerate(bounds) if bound == most])
        return self._last[1]

    def learn(self, payoff: float) -> None:
        query, arm = self._last
        self._models[arm].fit(self._vectors[query : query + 1], np.array([payoff]))

    def gap(self, query: int) -> float:
        return float(self._vectors[query] @ (self._models[0].beta - self._models[1].beta))


class VowpalWabbit:
    """Vowpal Wabbit's contextual bandit over single arms, fed with the class and the words."""

    def __init__(self, features: Features, arms: int, seed: int) -> None:
        import vowpalwabbit

        self._vw = vowpalwabbit.Workspace(f"{VW} --random_seed {seed + 1}")
        self._shared, self._draw = features.shared, random.Random(seed)
        self._actions = [f"|A arm{arm}" for arm in range(arms)]
        self._last: tuple[list[str], int, float] = ([], 0, 1.0)

    def add_arm(self) -> None:
        self._actions.append(f"|A arm{len(self._actions)}")

    def choose(self, query: int) -> int:
        example = [self._shared[query], *self._actions]
        shares = self._vw.predict(example)
        arm = self._draw.choices(range(len(shares)), weights=shares)[0]
        self._last = example, arm, shares[arm]
        return arm

    def learn(self, payoff: float) -> None:
        example, arm, share = self._last
        example[arm + 1] = f"0:{-payoff:.6f}:{share:.6f} {example[arm + 1]}"
        self._vw.learn(example)

    def gap(self, query: int) -> float:
        first, second = self._vw.predict([self._shared[query], *self._actions])
        return first - second


class Features:
    """What the rivals see of a query.

    Attributes:
        vectors: a one, the class, and what our own contextual policy is told of the text. Shape [Q, D].
        shared: Vowpal Wabbit's line of it.
    """

    def __init__(self, matrix: Matrix, classes: Sequence[str]) -> None:
        names = sorted(set(classes))
        self.vectors = np.array([_vector(query, names.index(each), len(names)) for query, each in zip(matrix.queries, classes, strict=True)])
        self.shared = [f"shared |C {'_'.join(WORD.findall(each))} |U {' '.join(WORD.findall(query.lower()))}" for query, each in zip(matrix.queries, classes, strict=True)]


def _vector(query: str, place: int, classes: int) -> Array:
    return np.concatenate([[1.0], np.eye(classes)[place], features(query)])


RIVALS: dict[str, Callable[[Features, int, int], Rival]] = {"mabwiser_thompson": Thompson, "mabwiser_linucb": LinUCB, "vw": VowpalWabbit}


class Course:
    """A set as one rival plays it."""

    def __init__(self, routed: RoutingSet, folder: Path, rival: str) -> None:
        self._routed, self._matrix = routed, routed.matrix(folder)
        self._features, self._make = Features(self._matrix, routed.classes(self._matrix)), RIVALS[rival]

    def play(self, seed: int, price: float) -> tuple[list[int], float | None, Rival, Rounds]:
        """Play a seed: choices, and what was spent of the ceiling in the scored rounds."""
        rounds = self._routed.rounds(self._matrix, seed)
        growing = rounds.new_arm_at is not None
        rival = self._make(self._features, len(self._matrix.arms) - growing, seed)
        spend, chosen = self._spend(rounds), []
        for turn, query in enumerate(rounds.order.tolist()):
            if growing and turn == rounds.new_arm_at:
                rival.add_arm()
            arm = rival.choose(query)
            chosen.append(arm)
            rival.learn(float(rounds.reward[turn, arm] - (price * spend[turn, arm] if spend is not None else 0.0)))
        spent = None if spend is None else float(spend[np.arange(len(chosen)), chosen][rounds.scored].mean())
        return chosen, spent, rival, rounds

    def _spend(self, rounds: Rounds) -> Array | None:
        """In ceilings; what is not known counts as one."""
        spend = rounds.spend(self._routed.ceiling)
        return None if spend is None else np.nan_to_num(spend / self._routed.ceiling.most, nan=1.0)

    def tuned(self, target: float, seeds: Sequence[int]) -> float:
        """The price at which the mean spend over some seeds is nearest to the target, by bisection."""
        def spent(price: float) -> float:
            return float(np.mean([self.play(seed, price)[1] for seed in seeds]))

        found = {0.0: spent(0.0)}
        if found[0.0] > target:
            low, high = 0.0, HIGHEST_PRICE
            for _ in range(STEPS):
                price = math.sqrt(low * high) if low else high / 8
                found[price] = spent(price)
                low, high = (price, high) if found[price] > target else (low, price)
        return min(found, key=lambda price: abs(found[price] - target))

    def ranked(self, rival: Rival, rounds: Rounds) -> dict[str, float]:
        """APGR and CPT80 of the queries that are to be ranked."""
        if not len(rounds.ranked):
            return {}
        gaps = np.array([rival.gap(query) for query in rounds.ranked.tolist()])
        strong, weak = self._matrix.reward[rounds.ranked].T
        return {"apgr": metrics.apgr(gaps, strong, weak), "cpt80": metrics.cpt80(gaps, strong, weak)}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Tune and play."""
    course = Course(SETS[job["set"]], Path(job["data"]), job["rival"])
    price = 0.0 if job["target"] is None else course.tuned(job["target"], job["tuning_seeds"])
    chosen, ranks = [], []
    for seed in job["seeds"]:
        choices, _, rival, rounds = course.play(seed, price)
        chosen.append(choices)
        ranks.append(course.ranked(rival, rounds))
    return {"price": price, "chosen": chosen, "ranks": ranks}


def main() -> None:
    """Do one job."""
    print(json.dumps(run(json.load(sys.stdin))), flush=True)


if __name__ == "__main__":
    main()
