"""Betting on differences in [-1, 1]: capital that grows only where their mean is above what is doubted, and bounds of that mean.

Whoever doubts that a mean is above `null` offers even odds on every difference. A player who stakes a share of the capital on each, the share
being chosen before the difference is seen, multiplies it by `1 + bet · (difference - null)`: on average by one at most if the doubt is right,
whatever the differences are otherwise. So the capital ever reaches x with chance 1/x at most (Ville's inequality), at all looks together.
For differences of binary scores this is McNemar's test as an e-process: where both scores are equal nothing is won or lost, and a bet is the
alternative that a discordant pair favours the candidate with chance (1 + bet)/2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

GREATEST_LOSS = 0.8
"""Part of the capital that the worst difference may take: less wins too little on few pairs, more loses too often (docs/LOG.md, 2026-12-01)."""
FIRST_VARIANCE, FIRST_WEIGHT = 0.25, 8
"""Variance of a difference that is assumed before there are any, and how many of them that weighs: a first few equal pairs must not raise the bets."""
HALVINGS = 30
"""Steps to a bound: it is then found to 2e-9."""


def bets(differences: Sequence[float], *, alpha: float, horizon: int) -> list[float]:
    """Return what is to be staked on each difference, chosen from those before it, before `greatest_bet` limits it.

    The bet is the one that, staked throughout, has the best chance to bring 1/alpha by the horizon: the root of 2 ln(1/alpha) / (horizon ·
    variance), whatever the true mean is. (In a Brownian approximation a bet of b that is staked n times at variance v brings b·n·mean - b²·n·v/2,
    give or take b·root(n·v): the chance that this is above ln(1/alpha) is greatest there.) The variance is that of the differences so far.

    Args:
        differences: in [-1, 1], in the order in which they are looked at.
        alpha: error, in (0, 1), at which the capital is to suffice.
        horizon: differences that there will be at most.

    Source:
        I. Waudby-Smith, A. Ramdas, Estimating means of bounded random variables by betting, Journal of the Royal Statistical Society B 86 (2024),
        section 3: their bets for a fixed number of observations. Departures: one-sided; differences in [-1, 1]; the first variance weighs more.

    Example:
        >>> [round(bet, 3) for bet in bets([0.0, 1.0], alpha=0.05, horizon=100)]   # variance 1/4, then 8/9 of it
        [0.49, 0.519]
    """
    return list(_bets(differences, 2 * math.log(1 / alpha) / horizon))


def _bets(differences: Sequence[float], scale: float) -> Iterator[float]:
    total, squares = 0.0, FIRST_VARIANCE * FIRST_WEIGHT
    for weight, difference in enumerate(differences, FIRST_WEIGHT):
        yield math.sqrt(scale * weight / squares)
        total += difference
        squares += (difference - total / (weight + 1)) ** 2


def greatest_bet(null: float) -> float:
    """Return the most that is staked against a null in [-1, 1]: the worst difference, -1, then takes `GREATEST_LOSS` of the capital."""
    return GREATEST_LOSS / (1 + null) if null > -1 else math.inf


def capital(differences: Sequence[float], staked: Sequence[float], null: float) -> Iterator[float]:
    """Yield the capital after each difference; it is 1 before the first.

    Args:
        differences: in [-1, 1].
        staked: the bets, at least 0; `greatest_bet` limits them.
        null: the mean that is doubted to be exceeded, in [-1, 1].

    Example:
        >>> list(capital([1.0, 0.0, -1.0], [0.5, 0.5, 0.5], 0.0))
        [1.5, 1.5, 0.75]
    """
    held, most = 1.0, greatest_bet(null)
    for difference, bet in zip(differences, staked, strict=True):
        held *= 1.0 + min(bet, most) * (difference - null)
        yield held


def lower_bound(differences: Sequence[float], staked: Sequence[float], alpha: float) -> float:
    """Bound the mean from below: the least one that has not been betted away, at this look or an earlier one.

    All the bounds of a sequence hold together with chance 1 - alpha. The bound is above a null exactly when the capital against that has reached
    1/alpha: the greater the null, the less each difference brings, the limit of the bets included.

    Example:
        >>> lower_bound([], [], 0.05)
        -1.0
        >>> round(lower_bound([1.0] * 20, [0.4] * 20, 0.05), 3)   # (1 + .4 · (1 - m))²⁰ = 20
        0.596
    """
    low, high = -1.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _is_refuted(differences, staked, middle, alpha) else (low, middle)
    return low


def _is_refuted(differences: Sequence[float], staked: Sequence[float], null: float, alpha: float) -> bool:
    return any(held >= 1 / alpha for held in capital(differences, staked, null))
