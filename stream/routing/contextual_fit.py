"""Fitting the contextual model to draws and what they earned. Needs NumPy; whoever only uses a model, as routers do, does not.

A model adds to what the table of a class says: little where it has not proven, on requests that it was not fitted to, that it predicts
which arm is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from stream.routing.contextual import COMMON, ContextualModel
from stream.routing.refinement import log_odds_of
from stream.routing.regression import Draws, Fit, logistic, regress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Places = NDArray[np.int64]

COMMON_RIDGES, COMMON_RIDGE = (1.0, 4.0, 16.0, 64.0), 4.0
OWN_RIDGES = (10.0, 40.0, 160.0)
"""Precision of the belief that features say nothing: of how hard a request is, and of what tells arms apart. Fits are weighted by what they predict of traces left out."""
PROVEN = 0.5
"""Standard errors that are taken off the slope by which predictions of requests left out of the fit go with what came."""
LEAST_TRUST = 0.3
"""Part of a fit that has proven nothing: it decides between arms that are alike, and hardly moves others."""
LEAST_DISPERSION = 0.05
"""Of graded rewards, which scatter less than successes and failures do, and tell the more."""
SAMPLED = 512
"""Arms times requests in a model's sample: with few arms enough requests to foresee those few that go to a dear one, with many no more than each decision has time for."""
LEAST_SAMPLE, GREATEST_SAMPLE = 16, 64
CENTRE_TRACES = 10.0
"""Traces that the mean features of all requests weigh beside those of an arm's own."""
LEAST_RIDGE = 0.1
"""Of what is added to a level whatever a request is: it is fitted so that features need not stand in for it, and not used."""
LEAST_TRACES = 50
"""Below it nothing is fitted."""


def fit(x: Matrix, arms: Sequence[str], rewards: Matrix, levels: Matrix, weights: Matrix) -> ContextualModel:
    """Fit a model: how hard requests are for all arms, and what tells arms apart, both on log odds.

    1. Fit what is common to all arms: where a request is hard, arms that are good lose less than others. Of several strengths of the
       belief that features say nothing, that one is taken whose predictions of the traces left out of the fit err least.
    2. Fit with it what is particular to each arm, by the same rule.
    3. See how far predictions of traces left out go with what came, of 1 beyond the levels, of 2 beyond 1: that part of either is used.

    Args:
        x: (traces, DIMENSION), features.
        arms: of each trace, its arm's id.
        rewards: (traces,), in [0, 1].
        levels: (traces,), mean reward of the arm in the trace's class, in [0, 1].
        weights: (traces,), in [0, 1], by age.

    Source: the slope of outcomes on predictions as shrinkage, J. Copas, Regression, prediction and shrinkage, JRSS B 1983; dispersion,
    R. Wedderburn, Quasi-likelihood functions, Biometrika 1974.
    """
    names, traces = sorted(set(arms)), len(rewards)
    if traces < LEAST_TRACES or len(names) < 2:
        return ContextualModel(traces=traces)
    log_odds, of_arm = np.array([log_odds_of(level) for level in levels.tolist()]), np.searchsorted(names, arms).astype(np.int64)
    centre = np.average(x, axis=0, weights=weights)
    draws = Draws(x=np.hstack([x - centre, np.ones((traces, 1))]), of_arm=of_arm, arms=len(names), rewards=rewards, levels=log_odds, weights=weights)
    chances = logistic(log_odds)
    dispersion = min(max(float((weights * (rewards - chances) ** 2).sum() / (weights * chances * (1.0 - chances)).sum()), LEAST_DISPERSION), 1.0)
    scale = dispersion * np.append(np.ones(x.shape[1]), 0.0)
    hard = _blended(draws, [(scale * common + LEAST_RIDGE, None) for common in COMMON_RIDGES], dispersion)  # 1
    apart = _blended(draws, [(scale * COMMON_RIDGE + LEAST_RIDGE, scale * own + LEAST_RIDGE) for own in OWN_RIDGES], dispersion)  # 2
    proven = _trust(hard.left_out - chances, rewards - chances, weights)  # 3
    trust = _trust(apart.left_out - hard.left_out, rewards - hard.left_out, weights)
    moved = (proven * hard.common + trust * (np.vstack([apart.coefficients, apart.common]) - hard.common))[:, :-1]
    return _model(names, moved, _centres(x, of_arm, weights, centre), x, trust)


def _centres(x: Matrix, of_arm: Places, weights: Matrix, centre: Matrix) -> Matrix:
    """The mean features of each arm's traces, drawn to those of all by `CENTRE_TRACES`; those of all at the end. What an arm's mean in a class is the mean of."""
    totals = np.full(int(of_arm.max()) + 1, CENTRE_TRACES)
    np.add.at(totals, of_arm, weights)
    sums = np.tile(CENTRE_TRACES * centre, (len(totals), 1))
    np.add.at(sums, of_arm, weights[:, None] * x)
    return np.vstack([sums / totals[:, None], centre])


def _model(names: Sequence[str], coefficients: Matrix, centres: Matrix, x: Matrix, trust: float) -> ContextualModel:
    """Put a model together: a mean holds for what it was the mean of, so that a request moves it by its distance from there."""
    beside = -(coefficients * centres).sum(axis=1)
    weighted = {name: (*map(float, row), float(one)) for name, row, one in zip((*names, COMMON), coefficients, beside, strict=True)}
    model = ContextualModel(weights=weighted, traces=len(x), trust=trust)
    size = min(max(SAMPLED // len(names), LEAST_SAMPLE), GREATEST_SAMPLE)
    return msgspec.structs.replace(model, sample=tuple(model.advantages(one) for one in x[-size:].tolist()))


def _blended(draws: Draws, ridges: Sequence[tuple[Matrix, Matrix | None]], dispersion: float) -> Fit:
    """The mean of several fits, each weighted by the likelihood that its predictions give the traces left out.

    Source: Y. Yao and others, Using stacking to average Bayesian predictive distributions, Bayesian Analysis 2018: pseudo Bayesian model averaging.
    """
    fits = [regress(draws, common, own) for common, own in ridges]
    likelihoods = np.array([_log_likelihood(draws, fitted.left_out) / dispersion for fitted in fits])
    shares = np.exp(likelihoods - likelihoods.max())
    shares /= shares.sum()

    def mean(values: Sequence[Matrix]) -> Matrix:
        return np.tensordot(shares, np.stack(values), axes=1)

    return Fit(coefficients=mean([each.coefficients for each in fits]), common=mean([each.common for each in fits]), left_out=mean([each.left_out for each in fits]))


def _log_likelihood(draws: Draws, predicted: Matrix) -> float:
    inside = np.clip(predicted, 1e-6, 1.0 - 1e-6)
    return float((draws.weights * (draws.rewards * np.log(inside) + (1.0 - draws.rewards) * np.log1p(-inside))).sum())


def _trust(predicted: Matrix, came: Matrix, weights: Matrix) -> float:
    """The slope of what came on what was predicted, less `PROVEN` standard errors, between `LEAST_TRUST` and 1."""
    products = weights * predicted * came
    together, error = float(products.sum()), math.sqrt(float((products**2).sum()))
    return min(max((together - PROVEN * error) / float((weights * predicted**2).sum()), LEAST_TRUST), 1.0) if error > 0.0 else 0.0
