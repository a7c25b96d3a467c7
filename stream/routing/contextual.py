"""The contextual model: how much better or worse than in its class an arm is for one request, given the features of its text.

Fitting needs NumPy; whoever only uses a model, as routers do, does not. A model adds to what the table of a class says: nothing where
it has not proven, on requests that it was not fitted to, that it predicts which arm is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import mul
from typing import TYPE_CHECKING

import msgspec

from stream.records import ArmRouting, PolicyParameters, RoutingUpdate
from stream.routing.features import DIMENSION, FEATURE_HASH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

NAME = "contextual"
"""Of the model among the policies' parameters on `eddy.routing`."""
RIDGES = (5.0, 20.0, 80.0, 320.0)
"""Traces' worth of the belief that features say nothing: the strength that predicts best what it was not fitted to is taken."""
PROVEN = 0.5
"""Standard errors that are taken off the slope by which predictions of requests left out of the fit go with what came."""
LEAST_TRUST = 0.05
"""Part of a fit that has proven nothing: it decides between arms that are alike, and hardly moves others."""
SAMPLE = 16
"""Requests in a model's sample: enough to foresee what is spent to within some percent, and 2 kB."""
LEAST_TRACES = 50
"""Below it nothing is fitted."""


class ContextualModel(msgspec.Struct, frozen=True, kw_only=True):
    """Weights by arm.

    Attributes:
        weights: of each arm `DIMENSION` numbers; what they say of a request is reward, relative to what all arms have in common.
        traces: that it was fitted to.
        trust: part of the fit, in [0, 1], that is in the weights.
        sample: advantages of the arms for the newest requests that it was fitted to, by which the desk foresees how arms are drawn.
    """

    weights: dict[str, tuple[float, ...]] = {}
    traces: int = 0
    trust: float = 0.0
    sample: tuple[dict[str, float], ...] = ()

    def advantages(self, x: Sequence[float]) -> dict[str, float]:
        """How much better each arm is for a request of these features than its mean says, in reward; about 0 over all arms."""
        return {arm_id: sum(map(mul, weights, x)) for arm_id, weights in self.weights.items()}

    def parameters(self, version: tuple[int, int]) -> PolicyParameters:
        """The record that routers read it from."""
        return PolicyParameters(name=NAME, version=version, feature_hash=FEATURE_HASH, parameters=msgspec.to_builtins(self))

    @classmethod
    def of(cls, parameters: PolicyParameters) -> ContextualModel | None:
        """Read it back; None where it is another policy's, or of other features.

        Raises:
            msgspec.ValidationError: it is malformed.
            ValueError: its weights are not `DIMENSION` finite numbers.
        """
        if parameters.name != NAME or parameters.feature_hash != FEATURE_HASH:
            return None
        model = msgspec.convert(parameters.parameters, cls)
        if any(len(weights) != DIMENSION or not all(map(math.isfinite, weights)) for weights in model.weights.values()):
            raise ValueError(f"a contextual model has weights that are not {DIMENSION} finite numbers, but its feature hash says so; wait for the next one")
        return model


def fit(x: Matrix, arms: Sequence[str], residuals: Matrix, weights: Matrix) -> ContextualModel:
    """Fit a model by ridge regression, first of all arms together, then of each one's difference from that.

    1. Regress what traces' rewards differ from their arm's mean in their class on their features: some requests are hard for all.
    2. Regress, for each arm, what is left on the features: this is what tells arms apart.
    3. Predict each trace by the fit without it (in closed form), and see how far the predictions go with what came: that part of the
       fit is used, and none where it is not `PROVEN`.

    Args:
        x: (traces, DIMENSION), features.
        arms: of each trace, its arm's id.
        residuals: (traces,), reward less the arm's mean in the trace's class.
        weights: (traces,), in [0, 1], by age.

    Source: leave-one-out residuals of ridge regression, T. Hastie, R. Tibshirani, J. Friedman, The Elements of Statistical Learning,
    2009, section 7.10; the slope of outcomes on predictions as shrinkage, J. Copas, Regression, prediction and shrinkage, JRSS B 1983.
    """
    import numpy as np

    names, traces = sorted(set(arms)), len(residuals)
    if traces < LEAST_TRACES or len(names) < 2:
        return ContextualModel(traces=traces)
    of_arm = np.searchsorted(names, arms)
    particular = residuals - _best(_ridge(x, residuals, weights), residuals, weights)[1]
    fits = [_ridge(x[of_arm == place], particular[of_arm == place], weights[of_arm == place]) for place in range(len(names))]
    candidates = []
    for strength in range(len(RIDGES)):
        left_out = np.zeros(traces)
        for place, one in enumerate(fits):
            left_out[of_arm == place] = one[strength][1]
        candidates.append((np.stack([one[strength][0] for one in fits]), left_out))
    theta, left_out = _best(candidates, particular, weights)
    trust = _trust(left_out, particular, weights)
    weighted = {name: tuple(map(float, trust * row)) for name, row in zip(names, theta, strict=True)}
    model = ContextualModel(weights=weighted, traces=traces, trust=trust)
    return msgspec.structs.replace(model, sample=tuple(model.advantages(one) for one in x[-SAMPLE:].tolist()))


def _ridge(x: Matrix, y: Matrix, weights: Matrix) -> list[tuple[Matrix, Matrix]]:
    """For each of `RIDGES`: coefficients, and what the fit without each trace predicts for it."""
    import numpy as np

    values, vectors = np.linalg.eigh((x * weights[:, None]).T @ x)
    turned, moments = x @ vectors, vectors.T @ (x.T @ (weights * y))
    found = []
    for ridge in RIDGES:
        theta = vectors @ (moments / (values + ridge))
        leverages = np.minimum((turned**2 / (values + ridge)).sum(axis=1) * weights, 0.99)
        found.append((theta, (x @ theta - leverages * y) / (1.0 - leverages)))
    return found


def _best(fits: Sequence[tuple[Matrix, Matrix]], y: Matrix, weights: Matrix) -> tuple[Matrix, Matrix]:
    """The fit whose predictions of the traces left out err least."""
    return min(fits, key=lambda fitted: float((weights * (y - fitted[1]) ** 2).sum()))


def _trust(predicted: Matrix, came: Matrix, weights: Matrix) -> float:
    """The slope of what came on what was predicted, less `PROVEN` standard errors, between `LEAST_TRUST` and 1."""
    products = weights * predicted * came
    together, error = float(products.sum()), math.sqrt(float((products**2).sum()))
    return min(max((together - PROVEN * error) / float((weights * predicted**2).sum()), LEAST_TRUST), 1.0) if error > 0.0 else 0.0


def foreseen(update: RoutingUpdate, model: ContextualModel) -> dict[str, float]:
    """How often each arm will be drawn by routers that have the model, as far as the model's sample tells."""
    table = {arm.id: arm.probability for arm in update.arms}
    scores, floors = scores_of(update.arms)
    if not scores or not model.sample:
        return table
    drawn = [request_shares(scores, floors, advantages, update.sharpness) for advantages in model.sample]
    return table | {arm_id: math.fsum(shares) / len(drawn) for arm_id, shares in zip(scores, zip(*drawn, strict=True), strict=True)}


def scores_of(arms: Iterable[ArmRouting]) -> tuple[dict[str, float], dict[str, float]]:
    """Scores and floors of a table's arms, as far as it has any."""
    known = [arm for arm in arms if arm.score is not None]
    return {arm.id: arm.score or 0.0 for arm in known}, {arm.id: arm.floor for arm in known}


def scored(scores: Mapping[str, float], advantages: Mapping[str, float]) -> list[float]:
    """The scores of a class's arms, moved by what is known of a request; an arm that the model does not know keeps its own."""
    return [score + advantages.get(arm_id, 0.0) for arm_id, score in scores.items()]


def request_shares(scores: Mapping[str, float], floors: Mapping[str, float], advantages: Mapping[str, float], sharpness: float) -> list[float]:
    """Divide the draws for one request: inverse-gap weighting of the moved scores, and what exploration gives each arm.

    Args:
        scores: of each arm that may be drawn; one or more.
        floors: of each of them, the probability that exploration gives it.
        advantages: of `ContextualModel.advantages`.
        sharpness: of the class's table.

    Example:
        >>> shares = request_shares({"a": 0.5, "b": 0.5}, {"a": 0.05, "b": 0.05}, {"a": 0.25, "b": -0.25}, 16.0)
        >>> [round(share, 9) for share in shares]     # nine tenths of (9/10, 1/10), and .05
        [0.86, 0.14]
    """
    given = [floors[arm_id] for arm_id in scores]
    left = 1.0 - math.fsum(given)
    return [left * share + floor for share, floor in zip(inverse_gap(scored(scores, advantages), sharpness), given, strict=True)]


def inverse_gap(nets: Sequence[float], sharpness: float) -> list[float]:
    """Give each arm one over (number of arms, and sharpness times its distance from the best), and the best ones the rest.

    Args:
        nets: mean rewards, less what is charged; one or more.
        sharpness: 0 or more; at 0 all are drawn alike.

    Example:
        >>> [round(share, 6) for share in inverse_gap([0.5, 0.75, 0.25], 8.0)]   # 1 / (3 + 8 · .25), the rest, 1 / (3 + 8 · .5)
        [0.2, 0.657143, 0.142857]
    """
    greatest, count = max(nets), len(nets)
    shares = [1.0 / (count + sharpness * (greatest - net)) for net in nets]
    best = [place for place, net in enumerate(nets) if net == greatest]
    rest = 1.0 - sum(shares) + len(best) / count
    for place in best:
        shares[place] = rest / len(best)
    return shares
