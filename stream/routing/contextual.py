"""The contextual model: how much better or worse than in its class an arm is for one request, given the features of its text.

Fitting needs NumPy; whoever only uses a model, as routers do, does not. A model adds to what the table of a class says: nothing where
it has not proven, on requests that it was not fitted to, that it predicts which arm is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import mul
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stream.records import ArmRouting, PolicyParameters, RoutingUpdate
from stream.routing.features import DIMENSION, FEATURE_HASH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stream.routing.regression import Draws, Fit

    Matrix = NDArray[np.float64]

NAME = "contextual"
"""Of the model among the policies' parameters on `eddy.routing`."""
COMMON_RIDGES = (1.0, 4.0, 16.0, 64.0)
OWN_RIDGES = (5.0, 20.0, 80.0, 320.0)
"""Precision of the belief that features say nothing: of how hard a request is, and of what tells arms apart. Those that predict best what they were not fitted to are taken."""
PROVEN = 0.5
"""Standard errors that are taken off the slope by which predictions of requests left out of the fit go with what came."""
LEAST_TRUST = 0.05
"""Part of a fit that has proven nothing: it decides between arms that are alike, and hardly moves others."""
LEAST_DISPERSION = 0.05
"""Of graded rewards, which scatter less than successes and failures do, and tell the more."""
SAMPLED = 512
"""Arms times requests in a model's sample: with few arms enough requests to foresee those few that go to a dear one, with many no more than can be gone through at each decision."""
LEAST_SAMPLE, GREATEST_SAMPLE = 16, 64
CENTRE_TRACES = 10.0
"""Traces that the mean features of all requests weigh beside those of an arm's own."""
LEAST_RIDGE = 0.1
"""Of what is added to a level whatever a request is: it is fitted so that features need not stand in for it, and not used."""
COMMON = ""
"""As what a model knows arms that it does not know by name."""
EDGE = 0.02
"""Least distance of a level from 0 and 1: an arm of a few traces is not moved by what it earned in them alone."""
LEAST_TRACES = 50
"""Below it nothing is fitted."""


class ContextualModel(msgspec.Struct, frozen=True, kw_only=True):
    """Weights by arm.

    Attributes:
        weights: of each arm, and of `COMMON`, one number for each feature and one beside them; what they say of a request moves the log
            odds of the arm's mean.
        traces: that it was fitted to.
        trust: part of what was found to tell arms apart, in [0, 1], that is in the weights.
        sample: of `advantages` for the newest requests that it was fitted to, by which the desk foresees how arms are drawn.
    """

    weights: dict[str, tuple[float, ...]] = {}
    traces: int = 0
    trust: float = 0.0
    sample: tuple[dict[str, float], ...] = ()

    def advantages(self, x: Sequence[float]) -> dict[str, float]:
        """How much better each arm is for a request of these features than its mean says, in log odds."""
        return {arm_id: weights[-1] + sum(map(mul, x, weights)) for arm_id, weights in self.weights.items()}

    def parameters(self, version: tuple[int, int]) -> PolicyParameters:
        """The record that routers read it from."""
        return PolicyParameters(name=NAME, version=version, feature_hash=FEATURE_HASH, parameters=msgspec.to_builtins(self))

    @classmethod
    def of(cls, parameters: PolicyParameters) -> ContextualModel | None:
        """Read it back; None where it is another policy's, or of other features.

        Raises:
            msgspec.ValidationError: it is malformed.
            ValueError: its weights are not one more finite numbers than there are features.
        """
        if parameters.name != NAME or parameters.feature_hash != FEATURE_HASH:
            return None
        model = msgspec.convert(parameters.parameters, cls)
        if any(len(weights) != DIMENSION + 1 or not all(map(math.isfinite, weights)) for weights in model.weights.values()):
            raise ValueError(f"a contextual model has weights that are not {DIMENSION + 1} finite numbers, but its feature hash says so; wait for the next one")
        return model


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
    import numpy as np

    from stream.routing.regression import Draws, logistic

    names, traces = sorted(set(arms)), len(rewards)
    if traces < LEAST_TRACES or len(names) < 2:
        return ContextualModel(traces=traces)
    log_odds, of_arm = np.array([log_odds_of(level) for level in levels.tolist()]), np.searchsorted(names, arms)
    centre = np.average(x, axis=0, weights=weights)
    draws = Draws(x=np.hstack([x - centre, np.ones((traces, 1))]), of_arm=of_arm, arms=len(names), rewards=rewards, levels=log_odds, weights=weights)
    chances = logistic(log_odds)
    dispersion = float((weights * (rewards - chances) ** 2).sum() / (weights * chances * (1.0 - chances)).sum())
    scale = min(max(dispersion, LEAST_DISPERSION), 1.0) * np.append(np.ones(x.shape[1]), 0.0)
    hard, ridge = _best(draws, [(scale * common + LEAST_RIDGE, None) for common in COMMON_RIDGES])  # 1
    apart, _ = _best(draws, [(ridge, scale * own + LEAST_RIDGE) for own in OWN_RIDGES])  # 2
    proven = _trust(hard.left_out - chances, rewards - chances, weights)  # 3
    trust = _trust(apart.left_out - hard.left_out, rewards - hard.left_out, weights)
    moved = proven * (hard.common + trust * (np.vstack([apart.coefficients, apart.common]) - hard.common))[:, :-1]
    return _model(names, moved, _centres(x, of_arm, weights, centre), x, trust)


def _centres(x: Matrix, of_arm: Matrix, weights: Matrix, centre: Matrix) -> Matrix:
    """The mean features of each arm's traces, drawn to those of all by `CENTRE_TRACES`; those of all at the end. What an arm's mean in a class is the mean of."""
    import numpy as np

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


def _best(draws: Draws, ridges: Sequence[tuple[Matrix, Matrix | None]]) -> tuple[Fit, Matrix]:
    """The fit whose predictions of the traces left out err least, and what draws its common part to 0."""
    from stream.routing.regression import regress

    fits = [(regress(draws, common, own), common) for common, own in ridges]
    return min(fits, key=lambda found: float((draws.weights * (draws.rewards - found[0].left_out) ** 2).sum()))


def _trust(predicted: Matrix, came: Matrix, weights: Matrix) -> float:
    """The slope of what came on what was predicted, less `PROVEN` standard errors, between `LEAST_TRUST` and 1."""
    products = weights * predicted * came
    together, error = float(products.sum()), math.sqrt(float((products**2).sum()))
    return min(max((together - PROVEN * error) / float((weights * predicted**2).sum()), LEAST_TRUST), 1.0) if error > 0.0 else 0.0


def log_odds_of(level: float) -> float:
    """Log odds of a mean reward that is taken to be no nearer than `EDGE` to 0 and 1.

    Example:
        >>> log_odds_of(0.5), log_odds_of(1.0) == log_odds_of(0.98)
        (0.0, True)
    """
    inside = min(max(level, EDGE), 1.0 - EDGE)
    return math.log(inside / (1.0 - inside))


def foreseen(update: RoutingUpdate, model: ContextualModel) -> dict[str, float]:
    """How often each arm will be drawn by routers that have the model, as far as the model's sample tells."""
    table, basis = {arm.id: arm.probability for arm in update.arms}, Basis.of(update)
    if not basis.arms or not model.sample:
        return table
    drawn = [basis.shares(advantages) for advantages in model.sample]
    return table | {arm_id: math.fsum(shares) / len(drawn) for arm_id, shares in zip(basis.arms, zip(*drawn, strict=True), strict=True)}


class Standing(NamedTuple):
    """What a table says of an arm to a router that refines it.

    Attributes:
        score: what it is drawn by, for an ordinary request.
        floor: the probability that exploration gives it.
        log_odds: of its mean reward.
        level: the mean reward that these are the log odds of.
    """

    score: float
    floor: float
    log_odds: float
    level: float


class Basis(NamedTuple):
    """What a class's table gives routers to refine: its arms that may be drawn, and how sharply.

    Attributes:
        arms: by their ids; none where the table alone is drawn from.
        sharpness: of inverse-gap weighting.
    """

    arms: Mapping[str, Standing]
    sharpness: float

    @classmethod
    def of(cls, update: RoutingUpdate) -> Basis:
        """Read it off a table."""
        known = {arm.id: _standing(arm) for arm in update.arms if arm.score is not None}
        return cls(known, update.sharpness)

    def among(self, arm_ids: Iterable[str]) -> Basis:
        """Leave only some of its arms, in this order."""
        return Basis({arm_id: self.arms[arm_id] for arm_id in arm_ids}, self.sharpness)

    def shares(self, advantages: Mapping[str, float]) -> list[float]:
        """Divide the draws for one request: inverse-gap weighting of the moved scores, and what exploration gives each arm.

        Args:
            advantages: of `ContextualModel.advantages`; an arm that it does not know is moved as all arms are.

        Example:
            >>> half = Standing(score=0.5, floor=0.05, log_odds=0.0, level=0.5)
            >>> shares = Basis({"a": half, "b": half}, 16.0).shares({"a": math.log(3.0), "b": -math.log(3.0)})
            >>> [round(share, 9) for share in shares]     # to .75 and .25: nine tenths of (9/10, 1/10), and .05
            [0.86, 0.14]
        """
        common = advantages.get(COMMON, 0.0)
        nets = [arm.score - arm.level + chance(arm.log_odds + advantages.get(arm_id, common)) for arm_id, arm in self.arms.items()]
        left = 1.0 - math.fsum(arm.floor for arm in self.arms.values())
        return [left * share + arm.floor for share, arm in zip(inverse_gap(nets, self.sharpness), self.arms.values(), strict=True)]


def _standing(arm: ArmRouting) -> Standing:
    log_odds = log_odds_of(arm.score if arm.level is None else arm.level)
    return Standing(arm.score or 0.0, arm.floor, log_odds, chance(log_odds))


def chance(log_odds: float) -> float:
    """The chance of log odds.

    Example:
        >>> chance(0.0), round(chance(math.log(3.0)), 9)
        (0.5, 0.75)
    """
    return 0.5 + 0.5 * math.tanh(0.5 * log_odds)


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
