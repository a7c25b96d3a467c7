"""The sets by their permanent names: which matrix, which ceiling, and in which order a seed plays it.

Read with nothing but NumPy installed beside Eddy's own classifier: the rivals' environment has no more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.matrix import Array, Matrix, read
from stream.reading.query_class import classify_query

LOW_USD, MID_USD, HIGH_USD = 3e-4, 6.6e-4, 1.9e-3
"""Ceilings a request on ParetoBandit's queries, as published with them."""
PRICE_DROP = 0.1
"""What is left of the costliest arm's price in the second phase."""
DEGRADATION = 0.82
"""What is left of the best arm's reward in the second phase."""
LABELS = 1_500
DRAWS, LAST_DRAWS = 2_000, 500
LATENCY_S = 1.3
STRONG_USD, WEAK_USD = 24.7e-6, 0.24e-6
"""Of a token of GPT-4 and of Mixtral 8x7B. Source: RouteLLM (arXiv 2406.18665), its estimate of $24.7 and $0.24 for a million tokens."""
TOKENS = 100
"""Of a question with its answer; only the ratio of the prices matters, since no spend is scored there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """What one seed plays, round by round.

    Attributes:
        order: the query of each round. Shape [T].
        reward: of every arm in each round, as it is then. Shape [T, K].
        cost_usd: the same, NaN where it is not known. Shape [T, K].
        latency_s: the same, NaN where it is not known. Shape [T, K].
        scored: whether the round counts; what comes before warms up. Shape [T].
        phase: 0, 1 or 2 where conditions change, else 0 throughout. Shape [T].
        new_arm_at: the round from which the last arm can be chosen, or None.
        ranked: queries to be ranked by their gap after the last round. Shape [R], mostly empty.
    """

    order: NDArray[np.int64]
    reward: Array
    cost_usd: Array
    latency_s: Array
    scored: NDArray[np.bool_]
    phase: NDArray[np.int64]
    new_arm_at: int | None
    ranked: NDArray[np.int64]

    def spend(self, ceiling: Ceiling) -> Array | None:
        """What is spent of what the ceiling is on, or None without a ceiling."""
        return self.cost_usd if ceiling.max_cost_usd is not None else self.latency_s if ceiling.max_latency_s is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What a request may cost or take on average; at most one of the two."""

    max_cost_usd: float | None = None
    max_latency_s: float | None = None

    @property
    def most(self) -> float | None:
        """The bound, whatever it is on."""
        return self.max_cost_usd if self.max_cost_usd is not None else self.max_latency_s


NO_CEILING = Ceiling()
LOW, MID, HIGH = (Ceiling(max_cost_usd=usd) for usd in (LOW_USD, MID_USD, HIGH_USD))
HALF_STRONG = Ceiling(max_cost_usd=TOKENS * (STRONG_USD + WEAK_USD) / 2)
"""Half of the labels may be the strong model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSet:
    """One set.

    Attributes:
        name: permanent.
        source: the name of its files.
        ceiling: on the mean request.
        rounds: what a seed plays.
        prepared: the matrix as it is played, from the one that was read.
        classed: whether the class is what the source says of a query; else it is read off the text.
    """

    name: str
    source: str
    ceiling: Ceiling
    rounds: Callable[[Matrix, int], Rounds]
    prepared: Callable[[Matrix], Matrix] = lambda matrix: matrix
    classed: bool = False

    def matrix(self, folder: Path) -> Matrix:
        """Read it."""
        return self.prepared(read(folder, self.source))

    def classes(self, matrix: Matrix) -> tuple[str, ...]:
        """The class of every query."""
        return matrix.groups if self.classed else _classified(matrix.queries)


@lru_cache(maxsize=8)
def _classified(queries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(classify_query(query) for query in queries)


def shuffled(count: int, seed: int) -> NDArray[np.int64]:
    """The numbers below `count`, in the order of a seed: the same on every version of Python and NumPy."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return np.array(order, dtype=np.int64)


def rounds_of(matrix: Matrix, order: NDArray[np.int64], *, warm: int = 0, new_arm_at: int | None = None, ranked: NDArray[np.int64] | None = None) -> Rounds:
    """Play these queries in this order, each outcome as it was recorded.

    Args:
        matrix: recorded outcomes.
        order: queries, perhaps some of them twice.
        warm: so many rounds at the start are not scored.
        new_arm_at: the round from which the last arm can be chosen.
        ranked: queries to be ranked after the last round.
    """
    return Rounds(
        order=order,
        reward=matrix.reward[order],
        cost_usd=matrix.cost_usd[order],
        latency_s=matrix.latency_s[order],
        scored=np.arange(len(order)) >= warm,
        phase=np.zeros(len(order), dtype=np.int64),
        new_arm_at=new_arm_at,
        ranked=np.array([], dtype=np.int64) if ranked is None else ranked,
    )


def cold(matrix: Matrix, seed: int) -> Rounds:
    """Every query once."""
    return rounds_of(matrix, shuffled(len(matrix.queries), seed))


def warm(matrix: Matrix, seed: int) -> Rounds:
    """A random half is replayed first, by the same rules; the other half is scored."""
    return rounds_of(matrix, shuffled(len(matrix.queries), seed), warm=len(matrix.queries) // 2)


def phased(rounds: Rounds) -> Rounds:
    """The same rounds in three phases of the same length, to one round."""
    phase = np.arange(len(rounds.order)) * 3 // len(rounds.order)
    return _changed(rounds, phase=phase)


def price_drift(matrix: Matrix, seed: int) -> Rounds:
    """In the second of three phases the costliest arm's price is a tenth."""
    rounds = phased(cold(matrix, seed))
    costliest = int(np.argmax(np.nanmean(matrix.cost_usd, axis=0)))
    cost_usd = rounds.cost_usd.copy()
    cost_usd[rounds.phase == 1, costliest] *= PRICE_DROP
    return _changed(rounds, cost_usd=cost_usd)


def degradation(matrix: Matrix, seed: int) -> Rounds:
    """In the second of three phases the reward of the best arm within the middle ceiling falls by 18 %; nothing else tells of it."""
    rounds = phased(cold(matrix, seed))
    reward = rounds.reward.copy()
    reward[rounds.phase == 1, best_within(matrix, MID_USD)] *= DEGRADATION
    return _changed(rounds, reward=reward)


def best_within(matrix: Matrix, max_cost_usd: float) -> int:
    """The arm of the greatest mean reward among those whose mean cost is within a ceiling."""
    within = np.nanmean(matrix.cost_usd, axis=0) <= max_cost_usd
    return int(np.argmax(np.where(within, matrix.reward.mean(axis=0), -np.inf)))


def new_arm(matrix: Matrix, seed: int) -> Rounds:
    """The last arm can be chosen only after a third."""
    return rounds_of(matrix, shuffled(len(matrix.queries), seed), new_arm_at=len(matrix.queries) // 3)


def labelled(matrix: Matrix, seed: int) -> Rounds:
    """So many queries are labelled, each by the outcome of the one arm that was chosen; every other query is ranked."""
    order = shuffled(len(matrix.queries), seed)
    return rounds_of(matrix, order[:LABELS], ranked=np.sort(order[LABELS:]))


def drawn(matrix: Matrix, seed: int) -> Rounds:
    """Queries are drawn with replacement; the last ones are scored."""
    generator = random.Random(seed)
    order = np.array([generator.randrange(len(matrix.queries)) for _ in range(DRAWS)], dtype=np.int64)
    return rounds_of(matrix, order, warm=DRAWS - LAST_DRAWS)


def _changed(rounds: Rounds, **fields: NDArray[np.generic]) -> Rounds:
    kept = {name: getattr(rounds, name) for name in Rounds.__dataclass_fields__}
    return Rounds(**(kept | fields))


def _with_latency(matrix: Matrix) -> Matrix:
    return matrix.of_arms(np.flatnonzero(~np.isnan(matrix.latency_s).all(axis=0)).tolist())


def _priced(matrix: Matrix) -> Matrix:
    """The strong model first, and what a request to each costs on average."""
    strong_first = sorted(range(len(matrix.arms)), key=lambda arm: "gpt-4" not in matrix.arms[arm])
    ordered = matrix.of_arms(strong_first)
    ordered.cost_usd[:] = TOKENS * np.array([STRONG_USD, WEAK_USD])
    return ordered


PARETO_3, PARETO_4 = "paretobandit_k3", "paretobandit_k4"
CEILINGS = {"low": LOW, "mid": MID, "high": HIGH}

ALL = (
    *[RoutingSet(name=f"pb3_{level}_cold", source=PARETO_3, ceiling=ceiling, rounds=cold) for level, ceiling in CEILINGS.items()],
    *[RoutingSet(name=f"pb3_{level}_warm", source=PARETO_3, ceiling=ceiling, rounds=warm) for level, ceiling in CEILINGS.items()],
    RoutingSet(name="pb3_price_drift", source=PARETO_3, ceiling=MID, rounds=price_drift),
    RoutingSet(name="pb3_degradation", source=PARETO_3, ceiling=MID, rounds=degradation),
    RoutingSet(name="pb4_new_arm", source=PARETO_4, ceiling=MID, rounds=new_arm),
    RoutingSet(name="mmlu_subject", source="routellm_mmlu", ceiling=HALF_STRONG, rounds=labelled, prepared=_priced, classed=True),
    RoutingSet(name="mmlu_text", source="routellm_mmlu", ceiling=HALF_STRONG, rounds=labelled, prepared=_priced),
    RoutingSet(name="bfcl", source="bfcl", ceiling=Ceiling(max_latency_s=LATENCY_S), rounds=drawn, prepared=_with_latency),
    RoutingSet(name="intercode_sql", source="intercode_sql", ceiling=NO_CEILING, rounds=cold),
)
SETS: Mapping[str, RoutingSet] = {each.name: each for each in ALL}
