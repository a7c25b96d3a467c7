"""Intervals for off-policy estimates: for a log of fixed length, and for one that may be looked at at any time.

This module needs NumPy.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]

LEAST_FREEDOM = 2.0
"""Degrees of freedom below which no quantile is computed: with so few draws nothing is known anyway."""
LEAST_SKEWNESS = 1e-6
"""Of an estimate, below which it is taken for symmetric."""
GREATEST_BET = 0.5
"""Of the anytime-valid bound: half of what the inequality allows, as its source advises."""
FIRST_VARIANCE = 0.25
"""Variance assumed of one weighted score before there are any: the greatest that a score in [0, 1] can have."""


def t_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's t.

    Args:
        level: in (0, 1).
        freedom: degrees of freedom; below 2 as 2.

    Source:
        M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 26.7.5: four terms, right to .004 from 5 degrees on.

    Example:
        >>> round(t_quantile(0.975, 10.0), 2), round(t_quantile(0.975, 1e9), 4)
        (2.23, 1.96)
    """
    v, z = max(freedom, LEAST_FREEDOM), NormalDist().inv_cdf(level)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3


def mean_interval(mean: float, variance: float, *, freedom: float, alpha: float) -> Interval:
    """Bound a mean of any range by Student's t.

    Args:
        mean: the estimate.
        variance: of the estimate.
        freedom: degrees of freedom of that variance.
        alpha: chance, in (0, 1), to miss.

    Example:
        >>> low, high = mean_interval(1.0, 0.04, freedom=1e9, alpha=0.05)
        >>> round(low, 3), round(high, 3)
        (0.608, 1.392)
    """
    reach = t_quantile(1 - alpha / 2, freedom) * math.sqrt(variance)
    return mean - reach, mean + reach


def skewed_interval(mean: float, variance: float, *, skewness: float, freedom: float, alpha: float) -> Interval:
    """Bound a mean whose estimate is skewed: where few great weights meet rare failures, the plain interval is too sure at one end.

    Args:
        mean: the estimate.
        variance: of the estimate.
        skewness: of the estimate: that of one term over the root of their number.
        freedom: degrees of freedom of that variance.
        alpha: chance, in (0, 1), to miss, a half of it at either end.

    Source:
        P. Hall, On the removal of skewness by transformation, JRSS B 54 (1992): the monotone cubic one. Departure: Student's quantiles.

    Example:
        >>> low, high = skewed_interval(1.0, 0.04, skewness=0.0, freedom=1e9, alpha=0.05)
        >>> round(low, 3), round(high, 3)
        (0.608, 1.392)
        >>> low, high = skewed_interval(1.0, 0.04, skewness=-0.3, freedom=1e9, alpha=0.05)
        >>> low < 0.608, high < 1.392
        (True, True)
    """
    reach, error = t_quantile(1 - alpha / 2, freedom), math.sqrt(variance)
    return mean - error * _unskewed(reach, skewness), mean - error * _unskewed(-reach, skewness)


def _unskewed(x: float, skewness: float) -> float:
    """The quantile of (estimate - mean) / error whose transform is x."""
    if abs(skewness) < LEAST_SKEWNESS:
        return x
    return 3.0 * (math.cbrt(1.0 + skewness * (x - skewness / 6.0)) - 1.0) / skewness


def score_interval(mean: float, variance: float, *, effective: float, freedom: float, alpha: float) -> Interval:
    """Bound a mean of scores in [0, 1] by Wilson's interval, for as many plain binary draws as would leave the same variance.

    A mean near 0 or 1 has a skewed distribution, which an interval of mean ± t standard errors misses too often; this one is
    skewed likewise and stays within [0, 1].

    Args:
        mean: the estimate; outside of [0, 1], where weighting may put it, it counts as the bound.
        variance: of the estimate; 0 where all scores are equal, which says little: `effective` stands in.
        effective: Kish's effective number of draws.
        freedom: degrees of freedom of that variance.
        alpha: chance, in (0, 1), to miss.

    Source:
        C. Franco et al., Comparative study of confidence intervals for proportions in complex sample surveys, Journal of Survey
        Statistics and Methodology 7 (2019): Wilson's with the design's effective sample, corrected for degrees of freedom.

    Example:
        >>> low, high = score_interval(0.9, 0.0009, effective=100.0, freedom=1e9, alpha=0.05)   # .9 · .1 / .0009 = 100 draws, 90 successes
        >>> round(low, 3), round(high, 3)
        (0.826, 0.945)
    """
    centre = min(max(mean, 0.0), 1.0)
    spread = centre * (1 - centre)
    draws = spread / variance if variance > 0 and spread > 0 else max(effective, 1.0)
    square = t_quantile(1 - alpha / 2, freedom) ** 2 / draws
    middle, reach = (centre + square / 2) / (1 + square), math.sqrt(square * spread + square**2 / 4) / (1 + square)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def anytime_bounds(weights: Floats, scores: Floats, *, alpha: float) -> tuple[Floats, Floats]:
    """Bound what a target earns, after every draw, so that all bounds hold together.

    The lower bound is that of w·r, the upper one that of w·(1 - r) turned over: both are at least 0 and their means are
    the target's value and its complement, whatever the greatest weight is and whoever chose the propensities by what
    came before. Where the value changes over time, they bound its mean with the bets as weights.

    Args:
        weights: shape (n,), target's probability over propensity; at least 0, in the order of the log.
        scores: shape (n,), in [0, 1]; NaN where there is none, which counts as a failure in the lower bound, and as a success in the upper one.
        alpha: chance, in (0, 1), that any of the bounds ever misses.

    Returns:
        Shape (n,) each: the greatest lower and the least upper bound so far.

    Source:
        I. Waudby-Smith, L. Wu, A. Ramdas, N. Karampatziakis, P. Mineiro, Anytime-valid off-policy inference for contextual
        bandits, 2022; the bets of I. Waudby-Smith, A. Ramdas, Estimating means of bounded random variables by betting, JRSS B
        86 (2023), theorem 2, whose inequality needs a bound from below only.

    Example:
        >>> low, high = anytime_bounds(np.ones(1000), np.ones(1000), alpha=0.05)
        >>> bool(low[-1] > 0.97), float(high[-1])
        (True, 1.0)
    """
    lower = _running_lower(weights * np.nan_to_num(scores, nan=0.0), alpha / 2)
    upper = 1.0 - _running_lower(weights * (1.0 - np.nan_to_num(scores, nan=1.0)), alpha / 2)
    return lower, upper


def _running_lower(values: Floats, alpha: float) -> Floats:
    """Bound the mean of values of at least 0 from below, after each of them."""
    count = np.arange(1, len(values) + 1)
    centre = np.concatenate(([0.5], np.minimum((0.5 + np.cumsum(values)) / (count + 1), 1.0)))[:-1]
    squares = (values - centre) ** 2
    variance = np.concatenate(([FIRST_VARIANCE], (FIRST_VARIANCE + np.cumsum(squares)) / (count + 1)))[:-1]
    bets = np.minimum(np.sqrt(2 * math.log(1 / alpha) / (variance * count * np.log1p(count))), GREATEST_BET)
    paid = np.cumsum((-np.log1p(-bets) - bets) * squares)
    bound = (np.cumsum(bets * values) - math.log(1 / alpha) - paid) / np.cumsum(bets)
    return np.maximum.accumulate(np.clip(bound, 0.0, 1.0))
