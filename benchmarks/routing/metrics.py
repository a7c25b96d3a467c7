"""What a player's choices come to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.routing.matrix import Array

WINDOW = 50
WITHIN = 0.01
STEADY = 0.9
RECOVERED = 0.8
QUANTILES_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086)
"""Student's t at .975 for 1 to 20 degrees of freedom; beyond, the normal's serves."""


def recovery_curve(gap: Array, strong: Array, weak: Array) -> tuple[Array, Array]:
    """Share of the performance gap that is recovered, over the share of calls that go to the strong arm.

    The queries of the greatest gap go first; between queries of the same gap the curve is what a random order gives on average, a line.

    Args:
        gap: by which the strong arm is held to be better. Shape [N].
        strong: reward of the strong arm. Shape [N].
        weak: reward of the weak arm. Shape [N].

    Returns:
        Shares of strong calls, from 0 to 1, and of the gap recovered there, from 0 to 1.

    Source: I. Ong and others, RouteLLM (arXiv 2406.18665), section 3.
    """
    order = np.argsort(-gap, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    ends = np.concatenate([[0], np.flatnonzero(np.diff(gap[order])) + 1, [len(gap)]])
    return ends / len(gap), gained[ends] / gained[-1]


def apgr(gap: Array, strong: Array, weak: Array) -> float:
    """Average performance gap recovered: the area under the curve, by trapezoids; .5 for a random order.

    Example:
        Two of four queries gain from the strong arm, and both are ranked first: the curve is (0, 0), (1/4, 1/2), (1/2, 1), (1, 1).
        >>> apgr(np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0]))
        0.75
    """
    share, recovered = recovery_curve(gap, strong, weak)
    return float(np.sum(np.diff(share) * (recovered[1:] + recovered[:-1]) / 2))


def cpt80(gap: Array, strong: Array, weak: Array) -> float:
    """Least share of strong calls, in percent, with 80 % of the gap recovered.

    Example:
        The curve of the example above crosses .8 at 1/4 + (.8 - .5) / (1 - .5) / 4 = .4.
        >>> round(cpt80(np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0])), 9)
        40.0
    """
    share, recovered = recovery_curve(gap, strong, weak)
    end = int(np.argmax(recovered >= RECOVERED))
    part = (RECOVERED - recovered[end - 1]) / (recovered[end] - recovered[end - 1])
    return float(100 * (share[end - 1] + part * (share[end] - share[end - 1])))


def windows(curve: Array, length: int = WINDOW) -> Array:
    """Means of every full window: entry t is that of rounds t to t + length - 1.

    Example:
        >>> windows(np.array([0.0, 1.0, 2.0, 3.0]), 2).tolist()
        [0.5, 1.5, 2.5]
    """
    total = np.concatenate([[0.0], np.cumsum(curve)])
    return (total[length:] - total[:-length]) / length


def adaptation_requests(curve: Array, *, length: int = WINDOW, within: float = WITHIN) -> int:
    """Requests after a change until a window begins whose mean is within .01 of the final mean.

    The final mean is that of the second half of the curve.

    Args:
        curve: mean reward of each round since the change, over the seeds. Shape [T], T at least two windows.
        length: of a window, in rounds.
        within: how near is near enough.

    Example:
        The curve climbs from 0 to 1, and its second half is 1: the first window of two that is all 1 begins after two rounds.
        >>> adaptation_requests(np.array([0.0, 0.5, 1.0, 1.0, 1.0, 1.0]), length=2)
        2
    """
    final = curve[len(curve) // 2 :].mean()
    near = np.abs(windows(curve, length) - final) <= within + 1e-12
    return int(np.argmax(near)) if near.any() else len(curve)


def new_arm_requests(chosen: Array, *, length: int = WINDOW, steady: float = STEADY) -> int | None:
    """Requests after an arm was added until a window begins in which its share is at least 90 % of its steady share.

    The steady share is that over the second half of the rounds since.

    Args:
        chosen: share of the seeds that chose the new arm in each round since it came. Shape [T], T at least two windows.
        length: of a window, in rounds.
        steady: which part of the steady share is enough.

    Returns:
        None for an arm that in the end is never chosen: it has no share to reach.

    Example:
        >>> new_arm_requests(np.array([0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]), length=2)
        2
    """
    final = chosen[len(chosen) // 2 :].mean()
    if final == 0:
        return None
    reached = windows(chosen, length) >= steady * final - 1e-12
    return int(np.argmax(reached)) if reached.any() else len(chosen)


def phase_means(values: Array, phase: Array) -> list[float]:
    """Mean of each phase, unknown values left out.

    Example:
        >>> phase_means(np.array([1.0, 3.0, 5.0, np.nan]), np.array([0, 0, 1, 1]))
        [2.0, 5.0]
    """
    return [float(np.nanmean(values[phase == each])) for each in np.unique(phase)]


def paired_interval(differences: Sequence[float]) -> list[float] | None:
    """The 95 % interval of a mean difference, by Student's t: low, mean, high; None of less than two.

    Example:
        Mean 2, deviation 1, so 2 ± 4.303 · 1 / √3.
        >>> [round(each, 3) for each in paired_interval([1.0, 2.0, 3.0])]
        [-0.484, 2.0, 4.484]
    """
    if len(differences) < 2:
        return None
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    freedom = len(differences) - 1
    reach = (QUANTILES_95[freedom - 1] if freedom <= len(QUANTILES_95) else 1.96) * deviation / math.sqrt(len(differences))
    return [mean - reach, mean, mean + reach]
