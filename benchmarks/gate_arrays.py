"""The gate on many candidates at once: `stream.learning.gate.paired` in arrays, held equal to it by a test, and other tests beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream.learning.gate.betting import FIRST_VARIANCE, FIRST_WEIGHT, greatest_bet
from stream.learning.gate.paired import WORSE_ALPHA

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]


def draw_pairs(rng: np.random.Generator, shape: tuple[int, int], *, baseline: float, candidate: float, correlation: float) -> Floats:
    """Draw differences of correlated binary scores.

    Args:
        rng: of the simulation.
        shape: candidates, pairs.
        baseline: success rate.
        candidate: success rate.
        correlation: of the two scores of a pair.

    Raises:
        ValueError: rates so different cannot correlate so much.
    """
    both = baseline * candidate + correlation * math.sqrt(baseline * (1 - baseline) * candidate * (1 - candidate))
    won, lost = candidate - both, baseline - both
    if min(won, lost, 1 - won - lost - both) < 0:
        raise ValueError(f"rates {baseline} and {candidate} were to correlate by {correlation}, but they cannot; take less")
    drawn = rng.random(shape)
    return (drawn < won).astype(np.float64) - ((drawn >= won) & (drawn < won + lost))


def staked(differences: Floats, alpha: Floats | float, horizon: int) -> Floats:
    """`betting.bets`, a row a candidate."""
    weight = np.arange(FIRST_WEIGHT, FIRST_WEIGHT + differences.shape[1])
    squares = np.empty_like(differences)
    squares[:, 0] = FIRST_VARIANCE * FIRST_WEIGHT
    squares[:, 1:] = ((differences - np.cumsum(differences, axis=1) / (weight + 1)) ** 2)[:, :-1]
    return np.sqrt(2 * np.log(1 / np.asarray(alpha)) / horizon * weight / np.cumsum(squares, axis=1))


def capital(differences: Floats, bets: Floats, null: float) -> Floats:
    """`betting.capital`, a row a candidate."""
    return np.cumprod(1.0 + np.minimum(bets, greatest_bet(null)) * (differences - null), axis=1)


def promoted(differences: Floats, alpha: Floats | float, horizon: int, null: float = 0.0) -> tuple[Bools, Ints]:
    """`PairedGate.weigh`, a row a candidate.

    Args:
        differences: shape (candidates, pairs), in [-1, 1].
        alpha: of each candidate, shape (candidates, 1), or of all.
        horizon: `max_pairs`.
        null: `min_improvement`.

    Returns:
        Who is promoted, and after how many pairs its verdict fell, but for who can no longer win: all pairs.
    """
    held = capital(differences, staked(differences, alpha, horizon), null)
    against = capital(-differences, staked(-differences, WORSE_ALPHA, horizon), -null)
    won, lost = first(held >= 1 / np.asarray(alpha)), first(against >= 1 / WORSE_ALPHA)
    return won <= np.minimum(lost, differences.shape[1]), np.minimum(np.minimum(won, lost), differences.shape[1])


def first(reached: Bools) -> Ints:
    """The number of pairs at which each row is first reached; one more than there are where it never is."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, reached.shape[1] + 1)


def uniform_mixture(differences: Floats, alpha: float, _horizon: int) -> tuple[Bools, Ints]:
    """McNemar's e-process, mixed evenly over the chances from 1/2 to 1 that a discordant pair is won: what needs no horizon."""
    won, lost = np.cumsum(differences > 0, axis=1), np.cumsum(differences < 0, axis=1)
    grid = (np.arange(30) + 0.5) / 30
    held = sum(np.exp(won * math.log1p(bet) + lost * math.log1p(-bet)) for bet in grid) / len(grid)
    at = first(held >= 1 / alpha)
    return at <= differences.shape[1], np.minimum(at, differences.shape[1])


def goal_bets(differences: Floats, alpha: float, horizon: int) -> tuple[Bools, Ints]:
    """Bets planned anew after each pair, for what is still missing and the pairs that are left: nearly what a test at the end alone can do."""
    held, squares, goal = np.zeros(len(differences)), np.full(len(differences), FIRST_VARIANCE * FIRST_WEIGHT), math.log(1 / alpha)
    at = np.full(len(differences), differences.shape[1] + 1)
    for place, column in enumerate(differences.T):
        bet = np.sqrt(2 * np.maximum(goal - held, 0.0) / (horizon - place) * (place + FIRST_WEIGHT) / squares)
        held += np.where(at > place, np.log1p(np.minimum(bet, 0.95) * column), 0.0)
        at = np.where((held >= goal) & (at > differences.shape[1]), place + 1, at)
        squares += column**2
    return at <= differences.shape[1], np.minimum(at, differences.shape[1])


def exact_at_end(differences: Floats, alpha: float, _horizon: int) -> tuple[Bools, Ints]:
    """McNemar's exact test, once, after the last pair: the most that any test can do which is valid only there."""
    won, lost = (differences > 0).sum(axis=1), (differences < 0).sum(axis=1)
    return np.array([w >= least_wins(int(w + o), alpha) for w, o in zip(won, lost, strict=True)]), np.full(len(differences), differences.shape[1])


def exact_peeking(differences: Floats, alpha: float, _horizon: int) -> tuple[Bools, Ints]:
    """The same test after every pair, until it says yes: not valid."""
    won, discordant = np.cumsum(differences > 0, axis=1), np.cumsum(differences != 0, axis=1)
    least = np.array([least_wins(count, alpha) for count in range(differences.shape[1] + 1)])
    at = first(won >= least[discordant])
    return at <= differences.shape[1], np.minimum(at, differences.shape[1])


@cache
def least_wins(discordant: int, alpha: float) -> int:
    """Return how many of the discordant pairs must be won, so that a fair coin does it with chance alpha at most.

    Example:
        >>> least_wins(5, 0.05), least_wins(4, 0.07), least_wins(4, 0.05)   # 1/32, 1/16, and 1/16 is too much
        (5, 4, 5)
    """
    tail, chance = 0.0, 0.5**discordant
    for wins in range(discordant, -1, -1):
        tail += chance
        if tail > alpha:
            return wins + 1
        chance *= wins / (discordant - wins + 1)
    return 0


Test: TypeAlias = Callable[[Floats, float, int], tuple[Bools, Ints]]
TESTS: dict[str, Test] = {
    "the gate": promoted,
    "goal bets": goal_bets,
    "even mixture": uniform_mixture,
    "exact, at the end only": exact_at_end,
    "exact, at every look (invalid)": exact_peeking,
}
