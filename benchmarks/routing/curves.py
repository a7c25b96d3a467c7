"""How each contestant fares over time, mean over the seeds, at a few points: what the pictures are drawn from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing import bounds, metrics
from benchmarks.routing.matrix import Array
from benchmarks.routing.scores import Contest, Result, curve

POINTS = 120


def curves(contest: Contest, results: Mapping[str, Result | None]) -> dict[str, Any]:
    """One set's curves.

    Returns:
        `rounds`, the x of all others; for each contestant `reward` (mean up to there), `recent` (the reward of a window
        that ends there), `spend` (of the ceiling, in that window) and `newcomer` (its share), where the set has them; and
        `best_mix`, what two fixed arms would have earned within the ceiling.
    """
    first, most = contest.rounds[0], contest.routed.ceiling.most
    length = len(first.order)
    places = np.unique(np.linspace(metrics.WINDOW, length, POINTS).astype(np.int64))
    drawn = {name: _of(contest, result, places) for name, result in results.items() if result is not None}
    changes = [int(turn) for turn in np.flatnonzero(np.diff(first.phase)) + 1]
    flat = [_mix(contest, number, most) for number in range(len(contest.rounds))]
    return {"rounds": places.tolist(), "changes": changes, "new_arm_at": first.new_arm_at, "best_mix": float(np.mean(flat)), "contestants": drawn}


def _mix(contest: Contest, number: int, most: float | None) -> float:
    rounds = contest.rounds[number]
    return bounds.best_mix(rounds.reward, rounds.spend(contest.routed.ceiling), most)


def _of(contest: Contest, result: Result, places: NDArray[np.int64]) -> dict[str, list[float]]:
    earned = curve(contest, result, lambda rounds: rounds.reward)
    found = {"reward": np.cumsum(earned)[places - 1] / places, "recent": _windowed(earned, places)}
    most = contest.routed.ceiling.most
    if most is not None:
        found["spend"] = _windowed(_spent(contest, result) / most, places)
    if (since := contest.rounds[0].new_arm_at) is not None:
        came = np.arange(result.chosen.shape[1]) >= since
        found["newcomer"] = _windowed((came & (result.chosen == len(contest.matrix.arms) - 1)).mean(axis=0), places)
    return {name: [round(float(value), 4) for value in values] for name, values in found.items()}


def _spent(contest: Contest, result: Result) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a round of which no seed knows the spend
        spent = curve(contest, result, lambda rounds: rounds.cost_usd if contest.routed.ceiling.max_cost_usd is not None else rounds.latency_s)
    return np.nan_to_num(spent, nan=float(np.nanmean(spent)))


def _windowed(values: Array, places: NDArray[np.int64]) -> Array:
    return np.asarray(metrics.windows(values)[places - metrics.WINDOW])
