"""What could have been had, were every outcome known: the baselines, by linear programmes with one constraint."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.matrix import Array


def best_split(reward: Array, spend: Array | None, most: float | None, *, weight: Array | None = None) -> float:
    """The greatest mean reward of dividing each group's rounds among the arms within a mean spend.

    Groups are query classes for the best policy by class, single queries for the oracle, and one group of all for the best
    mix of fixed arms, of which the optimum needs two. Each group starts at its cheapest arm; the steps up its concave hull
    of reward over spend, the steepest of all groups first, are taken until the spend is used up, the last one in part.

    Args:
        reward: mean of each arm in each group. Shape [G, K].
        spend: mean of each arm in each group, all known. Shape [G, K]. None: nothing is spent.
        most: mean spend that is allowed, or None.
        weight: share of rounds in each group, summing to 1; all alike by default. Shape [G].

    Returns:
        Mean reward; that of the cheapest arms where even they are beyond the allowance.

    Example:
        Half of the rounds may be the dear arm's: half of the way from .6 to 1.
        >>> round(best_split(np.array([[0.6, 1.0]]), np.array([[1.0, 3.0]]), 2.0), 9)
        0.8

    Source: the LP relaxation of the multiple-choice knapsack problem; Kellerer, Pferschy, Pisinger, Knapsack Problems (2004), ch. 11.
    """
    shares = np.full(len(reward), 1 / len(reward)) if weight is None else weight
    if spend is None or most is None:
        return float(shares @ reward.max(axis=1))
    earned, left, steps = 0.0, most, []
    for share, rewards, spends in zip(shares, reward, spend, strict=True):
        hull = _hull(rewards, spends)
        earned += share * hull[0][1]
        left -= share * hull[0][0]
        steps += [((up - down) / (dear - cheap), share * (dear - cheap), share * (up - down)) for (cheap, down), (dear, up) in itertools.pairwise(hull)]
    for _, price, gain in sorted(steps, reverse=True):
        part = min(1.0, max(left, 0.0) / price)
        earned += part * gain
        left -= part * price
    return float(earned)


def _hull(rewards: Array, spends: Array) -> list[tuple[float, float]]:
    """The rising part of the upper hull, from the cheapest arm on: (spend, reward), slopes falling.

    Example:
        The second lies below the line from the first to the third; the last is dearer and no better.
        >>> [(float(x), float(y)) for x, y in _hull(np.array([0.0, 0.1, 1.0, 1.0]), np.array([0.0, 1.0, 2.0, 3.0]))]
        [(0.0, 0.0), (2.0, 1.0)]
    """
    hull: list[tuple[float, float]] = []
    for spend, reward in sorted(zip(spends, rewards, strict=True), key=lambda point: (point[0], -point[1])):
        if hull and reward <= hull[-1][1]:
            continue
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (spend - hull[-1][0]) <= (reward - hull[-1][1]) * (hull[-1][0] - hull[-2][0]):
            hull.pop()
        hull.append((spend, reward))
    return hull


def best_fixed(reward: Array, spend: Array | None, most: float | None) -> float:
    """The greatest mean reward of one arm within a mean spend; the cheapest arm's where none is within.

    Example:
        >>> best_fixed(np.array([[0.2, 0.9], [0.4, 0.9]]), np.array([[1.0, 3.0], [1.0, 3.0]]), 2.0)
        0.30000000000000004
    """
    means = reward.mean(axis=0)
    if spend is None or most is None:
        return float(means.max())
    spends = np.nanmean(spend, axis=0)
    within = spends <= most
    return float(means[within].max() if within.any() else means[spends.argmin()])


def best_mix(reward: Array, spend: Array | None, most: float | None) -> float:
    """The greatest mean reward of a mix of two fixed arms within a mean spend."""
    return best_split(reward.mean(axis=0)[None], None if spend is None else np.nanmean(spend, axis=0)[None], most)


def best_by_class(reward: Array, spend: Array | None, most: float | None, classes: Sequence[str]) -> float:
    """The greatest mean reward of a policy that sees no more than the class."""
    names, member = np.unique(np.array(classes), return_inverse=True)
    weight = np.bincount(member) / len(member)
    return best_split(_means(reward, member, len(names)), None if spend is None else _means(_filled(spend), member, len(names)), most, weight=weight)


def oracle(reward: Array, spend: Array | None, most: float | None) -> float:
    """The greatest mean reward of who knows every outcome in advance."""
    return best_split(reward, None if spend is None else _filled(spend), most)


def _means(values: Array, member: NDArray[np.int64], groups: int) -> Array:
    return np.array([values[member == group].mean(axis=0) for group in range(groups)])


def _filled(spend: Array) -> Array:
    """What is not recorded counts as the arm's mean."""
    return np.where(np.isnan(spend), np.nanmean(spend, axis=0), spend)
