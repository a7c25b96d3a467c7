"""Logistic ridge regression of requests on their features: how hard a request is for all arms, and what tells each arm apart.

Needs NumPy; only whoever fits a model does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STEPS = 8
"""Newton's at most; fits of replays are done after four or five."""
SETTLED = 1e-4
"""Log odds by which no coefficient moves any more."""
LEAST_WEIGHT = 0.02
"""Of a trace in Newton's step: the variance of a reward whose chance is .02, so that certainty stays finite."""
GREATEST_LEVERAGE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """What is fitted to.

    Attributes:
        x: features. Shape [N, D].
        of_arm: the arm of each trace, from 0. Shape [N].
        arms: how many there are, K.
        rewards: in [0, 1]. Shape [N].
        levels: log odds of the reward of the arm in the trace's class. Shape [N].
        weights: of each trace, above 0. Shape [N].
    """

    x: Array
    of_arm: NDArray[np.int64]
    arms: int
    rewards: Array
    levels: Array
    weights: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What came of it.

    Attributes:
        coefficients: of each arm, on log odds: what is common to all and its own. Shape [K, D].
        common: what is common to all. Shape [D].
        left_out: of each trace the reward that the fit without it predicts. Shape [N].
    """

    coefficients: Array
    common: Array
    left_out: Array


def logistic(log_odds: Array) -> Array:
    """Chances of log odds."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))


def regress(draws: Draws, common_ridge: Array, own_ridge: Array | None) -> Fit:
    """Fit reward ~ logistic(level + common · x + own of the arm · x), both drawn to 0.

    The arms meet in what is common only, so that the equations of a step fall apart: D of them for each arm, and D for what is
    common once the arms' are put in (the Schur complement).

    Args:
        draws: N traces.
        common_ridge: what draws each coefficient of what is common to 0. Shape [D].
        own_ridge: the same of what is an arm's own; None fits what is common alone.

    Source: K. Rad and A. Maleki, A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
    cross-validation, JRSS B 2020, for `left_out`.
    """
    common, own = np.zeros(draws.x.shape[1]), np.zeros((draws.arms, draws.x.shape[1]))
    members = [np.flatnonzero(draws.of_arm == arm) for arm in range(draws.arms)]
    for _ in range(STEPS):
        step = _Step(draws, members, common_ridge, own_ridge, common, own)
        moved_common, moved_own = step.solve()
        common, own = common + moved_common, own + moved_own
        if max(np.abs(moved_common).max(initial=0.0), np.abs(moved_own).max(initial=0.0)) < SETTLED:
            break
    step = _Step(draws, members, common_ridge, own_ridge, common, own)
    return Fit(coefficients=common + own, common=common, left_out=step.left_out())


class _Step:
    """One step of Newton's method, from where the coefficients stand."""

    def __init__(self, draws: Draws, members: list[NDArray[np.int64]], common_ridge: Array, own_ridge: Array | None, common: Array, own: Array) -> None:
        self._draws, self._members, self._own_ridge = draws, members, own_ridge
        self._log_odds = draws.levels + (draws.x * (common + own)[draws.of_arm]).sum(axis=1)
        chances = logistic(self._log_odds)
        self._curvatures = draws.weights * np.maximum(chances * (1.0 - chances), LEAST_WEIGHT)
        self._misses = draws.weights * (draws.rewards - chances)
        self._hessians = np.stack([(draws.x[rows] * self._curvatures[rows, None]).T @ draws.x[rows] for rows in members])
        self._pulls = np.stack([draws.x[rows].T @ self._misses[rows] for rows in members])
        self._pull = self._pulls.sum(axis=0) - common_ridge * common
        schur = self._hessians.sum(axis=0) + np.diag(common_ridge)
        if own_ridge is not None:
            self._pulls = self._pulls - own_ridge * own
            self._inverses = np.linalg.inv(self._hessians + np.diag(own_ridge))
            schur -= (self._hessians @ self._inverses @ self._hessians).sum(axis=0)
        self._covariance = np.linalg.inv(schur)

    def solve(self) -> tuple[Array, Array]:
        """How far the coefficients move."""
        if self._own_ridge is None:
            return self._covariance @ self._pull, np.zeros((len(self._members), len(self._pull)))
        through = (self._hessians @ (self._inverses @ self._pulls[:, :, None]))[:, :, 0]
        common = self._covariance @ (self._pull - through.sum(axis=0))
        own = (self._inverses @ (self._pulls - self._hessians @ common)[:, :, None])[:, :, 0]
        return common, np.asarray(own)

    def left_out(self) -> Array:
        """Of each trace what the fit without it predicts, one step of Newton's away from the fit with it."""
        leverages = np.empty(len(self._log_odds))
        for arm, rows in enumerate(self._members):
            x = self._draws.x[rows]
            leverages[rows] = np.einsum("nd,de,ne->n", x, self._spread(arm), x, optimize=True)
        leverages = np.minimum(leverages * self._curvatures, GREATEST_LEVERAGE)
        return logistic(self._log_odds - leverages / (1.0 - leverages) * self._misses / self._curvatures)

    def _spread(self, arm: int) -> Array:
        """Covariance of the arm's coefficients, what is common included."""
        if self._own_ridge is None:
            return self._covariance
        kept = self._inverses[arm] * self._own_ridge  # of what is common, what the arm's own traces leave
        return np.asarray(self._inverses[arm] + kept @ self._covariance @ kept.T)
