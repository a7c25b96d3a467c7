"""Off-policy estimates: what another policy would have earned and cost on requests whose arms were drawn with known propensities.

A draw's weight is the target's probability of the arm over the propensity it was drawn with: weighted so, the log's draws
look as the target's would. This module needs NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stream.routing.off_policy_bounds import Floats, Interval, anytime_bounds, mean_interval, score_interval, skewed_interval
from stream.routing.off_policy_draws import Bools, Draws, Ints, Target

ALPHA = 0.05
LEAST_EFFECTIVE = 100.0
"""Effective draws below which the logs cannot tell: an interval of a rate is then some .2 wide, and not to be relied on."""
MOST_UNSUPPORTED = 0.05
"""Share of the target's draws that may fall where the log never draws, until the logs cannot tell: it could move a mean by as much."""
MOST_DEVIATIONS = 5.0
"""Standard errors that the mean weight may be off from 1: by more where the propensities are not those that
were drawn with, or where the target leans on arms that were hardly ever drawn."""
FOLDS = 5
"""Parts of the log, each predicted from the others."""
PRIOR_WEIGHT = 3.0
"""Draws that an arm's mean over all classes counts as in a class, and the mean of all in an arm."""
METHODS = ("doubly_robust", "snips", "ips")
LOGGED = "logged"
"""As what `influences` names the terms of what was drawn."""
NOT_RATED = "next to none of the draws is rated"
LEAST_TOLD = 2.0
"""Effective draws below which nothing bounds a mean but its range, if it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean a request, and where it lies.

    Attributes:
        value: the estimate.
        interval: for a log of this length; holds with 95 % where the effective sample is not small.
    """

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What is said of reward, dollars or seconds a request.

    Attributes:
        draws: in which it is known.
        effective: Kish's effective number of them, in [0, draws].
        known_share: part of all draws, weighted as the target's, in which it is known.
        target: what the target would have come to, by each of `METHODS`; none where it is known of no draw.
        logged: what those who drew came to, on the same draws.
        difference: target's less logged, by the doubly robust estimate.
        anytime: bounds of the target's that hold at whatever length of the log one looks, and whoever rates: of rewards alone. What is not rated counts
            as a failure in the one and as a success in the other.
        freedom: degrees of freedom of the difference's variance: few where few draws of great weight decide.
        doubts: why the log cannot tell of this quantity.
    """

    draws: int
    effective: float
    known_share: float
    target: dict[str, Estimate]
    logged: Estimate | None
    difference: Estimate | None
    anytime: Interval | None = None
    freedom: float = 0.0
    doubts: tuple[str, ...] = ()

    @property
    def best(self) -> Estimate | None:
        """The doubly robust estimate."""
        return self.target.get(METHODS[0])

    @property
    def worst_case(self) -> Interval | None:
        """Of a reward: what it would be if all unrated draws were failures, and if all were successes; who rates may choose what.

        Source: C. Manski, Nonparametric bounds on treatment effects, American Economic Review 80 (1990).
        """
        if self.best is None:
            return None
        known = self.best.value * self.known_share
        return known, known + 1 - self.known_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the log says of a target policy.

    Attributes:
        draws: that could be weighed.
        effective: Kish's effective number of them.
        unsupported: share of the target's draws that would have fallen where the log never draws, in [0, 1].
        mean_weight: 1 but for chance, where the propensities are right.
        reward: per request, in [0, 1], over rated draws.
        cost_usd: per request.
        latency_s: per request.
        doubts: why the logs cannot tell; empty where they can.
    """

    draws: int
    effective: float
    unsupported: float
    mean_weight: float
    reward: Quantity
    cost_usd: Quantity
    latency_s: Quantity
    doubts: tuple[str, ...]

    @property
    def can_tell(self) -> bool:
        """Whether the log bears the estimates."""
        return not self.doubts


def evaluate(draws: Draws, target: Target, *, alpha: float = ALPHA) -> Evaluation:
    """Estimate what a target would have come to.

    Requests in which the log could draw nothing that the target would are left out, and counted in `unsupported`.

    Args:
        draws: of the log, in its order.
        target: its probabilities; each a function of what came before the draw.
        alpha: chance, in (0, 1), that one interval misses.
    """
    possible = target.supported[target.row] > 0
    kept, at = draws.where(possible), target.where(possible)
    weights = at.shares[at.row, kept.arm] / kept.propensity
    reward = quantity(kept, at, weights, kept.reward, is_score=True, alpha=alpha)
    unsupported = float(1 - np.mean(target.supported[target.row])) if len(target.row) else 0.0
    return Evaluation(
        draws=len(weights),
        effective=effective_sample(weights),
        unsupported=unsupported,
        mean_weight=float(np.mean(weights)) if len(weights) else 0.0,
        reward=reward,
        cost_usd=quantity(kept, at, weights, kept.cost_usd, alpha=alpha),
        latency_s=quantity(kept, at, weights, kept.latency_s, alpha=alpha),
        doubts=tuple(_doubts(weights, reward, unsupported)),
    )


def effective_sample(weights: Floats) -> float:
    """Kish's effective number of draws: as many equally weighted ones would leave the same variance.

    Example:
        >>> effective_sample(np.array([1.0, 1.0, 0.0, 2.0]))   # 4² / (1 + 1 + 4)
        2.6666666666666665
    """
    squares = float(np.sum(weights**2))
    return float(np.sum(weights)) ** 2 / squares if squares > 0 else 0.0


def _doubts(weights: Floats, reward: Quantity, unsupported: float) -> list[str]:
    found = [f"of the reward, {doubt}" for doubt in reward.doubts] or ([NOT_RATED] if reward.best is None else [])
    if unsupported > MOST_UNSUPPORTED:
        found.append(f"{unsupported:.0%} of the target's draws fall on arms that the log could not have drawn, but at most {MOST_UNSUPPORTED:.0%} may")
    if len(weights) > 1 and abs(np.mean(weights) - 1) > MOST_DEVIATIONS * max(np.std(weights) / len(weights) ** 0.5, 1e-3):
        found.append(f"the weights average {np.mean(weights):.2f}, but they come to 1 where the logged propensities are right and rare arms were drawn often enough")
    return found


def quantity(draws: Draws, target: Target, weights: Floats, values: Floats, *, is_score: bool = False, alpha: float = ALPHA) -> Quantity:
    """Estimate one quantity over all draws, from those in which it is known.

    Which arm served may say whether it is known, as where one provider reports no cost: each known value counts for all draws of its arm. That
    holds where, of one arm, it is not the value itself that decides; `Quantity.worst_case` bounds what else may be.

    Args:
        draws: of the log.
        target: the target's probabilities, on the same draws.
        weights: of the draws.
        values: of the quantity, NaN where it is unknown.
        is_score: whether it lies in [0, 1].
        alpha: chance that one interval misses.

    Source: D. Horvitz, D. Thompson, A generalization of sampling without replacement from a finite universe, JASA 47 (1952), for the rates.
    """
    known = ~np.isnan(values)
    counts = _each_known_for(draws, known)
    target_weights, total = weights * counts, float(np.sum(weights))
    effective, logged_effective = effective_sample(target_weights), effective_sample(counts)
    share = float(np.sum(weights[known])) / total if total > 0 else 0.0
    if effective == 0.0 or (not is_score and min(effective, logged_effective) < LEAST_TOLD):
        return Quantity(draws=int(np.sum(known)), effective=effective, known_share=share, target={}, logged=None, difference=None)
    value = np.where(known, values, 0.0)
    terms = influences(draws, target, target_weights, value, counts)
    robust, logged = terms[METHODS[0]], terms[LOGGED]
    bounds = anytime_bounds(weights, values, alpha=alpha) if is_score else None
    return Quantity(
        draws=int(np.sum(known)),
        effective=effective,
        known_share=share,
        target={name: _estimate(terms[name], effective, is_score=is_score, is_wilson=name != "ips", alpha=alpha) for name in METHODS},
        logged=_estimate(logged, logged_effective, is_score=is_score, is_wilson=True, alpha=alpha),
        difference=_difference(robust - logged, effective, alpha=alpha),
        freedom=_freedom(robust - logged),
        anytime=(float(bounds[0][-1]), float(bounds[1][-1])) if bounds else None,
        doubts=tuple(_doubts_of(weights, counts, effective, logged_effective)),
    )


def _each_known_for(draws: Draws, known: Bools) -> Floats:
    """For how many draws each stands by itself: of its arm, all over those in which the quantity is known; 0 where it is not. Shape (n,)."""
    size = len(draws.arms)
    of_all, of_known = np.bincount(draws.arm, minlength=size), np.bincount(draws.arm[known], minlength=size)
    return np.where(known, (of_all / np.maximum(of_known, 1))[draws.arm], 0.0)


def _doubts_of(weights: Floats, counts: Floats, effective: float, logged_effective: float) -> Iterator[str]:
    """Why the log cannot tell one quantity, of the target or of what was drawn."""
    for whose, each, worth in (("target's", weights, effective), ("log's", np.ones_like(weights), logged_effective)):
        total = float(np.sum(each))
        lost = 1.0 - float(np.sum(each * counts)) / total if total > 0 else 0.0
        if worth < LEAST_EFFECTIVE:
            yield f"where it is known the draws are worth {worth:.0f} of the {whose} own, but it takes {LEAST_EFFECTIVE:.0f}"
        if lost > MOST_UNSUPPORTED:
            yield f"{lost:.0%} of the {whose} draws are of arms of which it is never known, but at most {MOST_UNSUPPORTED:.0%} may be"


def _estimate(terms: Floats, effective: float, *, is_score: bool, is_wilson: bool, alpha: float) -> Estimate:
    """The mean of the terms, with its interval: Wilson's or Student's.

    Wilson's is for means whose spread vanishes at 0 and 1. That of plain inverse propensities does not: the weights' own spread is in it.
    """
    mean = float(np.mean(terms))
    variance = float(np.var(terms, ddof=1)) / len(terms) if len(terms) > 1 else 0.0
    freedom = min(effective - 1, _freedom(terms))
    if effective < LEAST_TOLD:
        return Estimate(value=min(max(mean, 0.0), 1.0) if is_score else mean, interval=(0.0, 1.0) if is_score else (-1.0, 1.0))
    if is_score and is_wilson:
        return Estimate(value=min(max(mean, 0.0), 1.0), interval=score_interval(mean, variance, effective=effective, freedom=freedom, alpha=alpha))
    low, high = mean_interval(mean, variance, freedom=freedom, alpha=alpha)
    if is_score:
        mean, low, high = (min(max(bound, 0.0), 1.0) for bound in (mean, low, high))
    return Estimate(value=mean, interval=(low, high))


def _difference(terms: Floats, effective: float, *, alpha: float) -> Estimate:
    """The mean of the terms, with an interval that knows of their skewness."""
    if effective < LEAST_TOLD:
        return Estimate(value=float(np.mean(terms)), interval=(-1.0, 1.0))
    mean, squares = float(np.mean(terms)), float(np.var(terms))
    skewness = float(np.mean((terms - mean) ** 3)) / (squares**1.5 * len(terms) ** 0.5) if squares > 0 else 0.0
    freedom = min(effective - 1, _freedom(terms))
    return Estimate(value=mean, interval=skewed_interval(mean, squares / (len(terms) - 1), skewness=skewness, freedom=freedom, alpha=alpha))


def _freedom(terms: Floats) -> float:
    """Degrees of freedom of the terms' variance, after Satterthwaite: 2n / (kurtosis - 1), so that few great weights count as few."""
    squares = (terms - np.mean(terms)) ** 2
    second, fourth = float(np.mean(squares)), float(np.mean(squares**2))
    return 2 * len(terms) * second**2 / (fourth - second**2) if fourth > second**2 else float(len(terms))


def influences(draws: Draws, target: Target, weights: Floats, values: Floats, counts: Floats) -> dict[str, Floats]:
    """Return, for each method and for what was drawn, one term a draw whose mean is the estimate and whose spread is its error's.

    - `ips` (Horvitz and Thompson, 1952): w·r.
    - `snips` (Hájek; A. Swaminathan, T. Joachims, 2015): the ratio of Σw·r and Σw, linearised around itself.
    - `doubly_robust` (M. Dudík, J. Langford, L. Li, 2011): what is predicted of the target, and w times what was not foreseen
      in the draw; predictions are means by class and arm, drawn towards those of the arm, from the other folds.

    Args:
        draws: of the log.
        target: its probabilities.
        weights: shape (n,), of the target times `counts`; at least one above 0.
        values: shape (n,), 0 where it is unknown.
        counts: shape (n,): for how many draws each stands, 0 where the value is unknown.
    """
    ratio = float(np.sum(weights * values) / np.sum(weights))
    of_drawn, of_target = _predictions(draws, target, values, counts > 0)
    return {
        LOGGED: of_drawn + counts * (values - of_drawn),
        "doubly_robust": of_target + weights * (values - of_drawn),
        "snips": ratio + weights / np.mean(weights) * (values - ratio),
        "ips": weights * values,
    }


def _predictions(draws: Draws, target: Target, values: Floats, known: Bools) -> tuple[Floats, Floats]:
    """Predict, from the other folds, the value of each draw's arm, and the mean over the target's arms."""
    fold = np.arange(len(values)) % FOLDS
    shape = (FOLDS, len(draws.groups), len(draws.arms))
    place = (fold * shape[1] + draws.group) * shape[2] + draws.arm
    size = shape[0] * shape[1] * shape[2]
    counts = np.bincount(place[known], minlength=size).reshape(shape).astype(np.float64)
    sums = np.bincount(place[known], weights=values[known], minlength=size).reshape(shape)
    means = _shrunk(np.sum(counts, axis=0) - counts, np.sum(sums, axis=0) - sums)
    return means[fold, draws.group, draws.arm], _expected(means, fold, draws.group, target)


def _shrunk(counts: Floats, sums: Floats) -> Floats:
    """Means by class and arm, drawn towards the arm's over all classes, and that towards the mean of all: shapes (fold, class, arm)."""
    of_all = np.sum(sums, axis=(1, 2), keepdims=True) / np.maximum(np.sum(counts, axis=(1, 2), keepdims=True), 1.0)
    of_arm = (np.sum(sums, axis=1, keepdims=True) + PRIOR_WEIGHT * of_all) / (np.sum(counts, axis=1, keepdims=True) + PRIOR_WEIGHT)
    return np.asarray((sums + PRIOR_WEIGHT * of_arm) / (counts + PRIOR_WEIGHT))


def _expected(means: Floats, fold: Ints, group: Ints, target: Target) -> Floats:
    """Weight the predictions by the target's probabilities, each combination of fold, class and row once."""
    rows = len(target.shares)
    names, back = np.unique((fold * means.shape[1] + group) * rows + target.row, return_inverse=True)
    of_group, row = np.divmod(names, rows)
    at_fold, at_group = np.divmod(of_group, means.shape[1])
    return np.asarray(np.sum(means[at_fold, at_group] * target.shares[row], axis=1)[back])
