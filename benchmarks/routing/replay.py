"""Plays rounds with a player, which learns of each round the outcome of the arm it chose, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.matrix import Array, Matrix
from benchmarks.routing.players import GrowingPlayer, Maker, RankingPlayer
from benchmarks.routing.sets import Rounds, RoutingSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What one player did with one seed's rounds.

    Attributes:
        chosen: the arm of each round. Shape [T].
        gaps: of the queries to be ranked, in their order. Shape [R].
    """

    chosen: NDArray[np.int64]
    gaps: Array


def play(routed: RoutingSet, matrix: Matrix, rounds: Rounds, maker: Maker, seed: int) -> Played:
    """Play every round once, in order."""
    arms = list(matrix.arms)
    newcomer = arms.pop() if rounds.new_arm_at is not None else None
    player = maker(arms, max_cost_usd=routed.ceiling.max_cost_usd, max_latency_s=routed.ceiling.max_latency_s, seed=seed)
    classes = routed.classes(matrix)
    chosen = np.empty(len(rounds.order), dtype=np.int64)
    for turn, query in enumerate(rounds.order.tolist()):
        if newcomer is not None and turn == rounds.new_arm_at:
            cast(GrowingPlayer, player).add_arm(newcomer)
        arm, _ = player.choose(matrix.queries[query], classes[query])
        chosen[turn] = arm
        player.learn(float(rounds.reward[turn, arm]), known(rounds.cost_usd[turn, arm]), known(rounds.latency_s[turn, arm]))
    return Played(chosen=chosen, gaps=_gaps(cast(RankingPlayer, player), matrix, classes, rounds))


def _gaps(player: RankingPlayer, matrix: Matrix, classes: Sequence[str], rounds: Rounds) -> Array:
    return np.array([player.gap(matrix.queries[query], classes[query]) for query in rounds.ranked.tolist()])


def known(value: float) -> float | None:
    """A recorded quantity, or None."""
    return None if math.isnan(value) else float(value)
