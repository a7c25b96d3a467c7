"""The regression of all arms together, against the same equations written down whole and against fits that really leave traces out."""

from __future__ import annotations

import numpy as np
import pytest

from stream.routing.regression import Draws, logistic, regress

FEATURES, ARMS = 4, 3


def some(traces: int = 80, seed: int = 1) -> Draws:
    rng = np.random.default_rng(seed)
    x, of_arm = rng.normal(size=(traces, FEATURES)), rng.integers(0, ARMS, traces)
    chances = logistic(0.5 + x @ np.array([1.0, -0.5, 0.0, 0.3]) + (of_arm == 1) * x[:, 2])
    rewards = (rng.random(traces) < chances).astype(np.float64)
    return Draws(x=x, of_arm=of_arm, arms=ARMS, rewards=rewards, levels=np.full(traces, 0.5), weights=rng.uniform(0.5, 1.0, traces))


def slowly(draws: Draws, common_ridge: np.ndarray, own_ridge: np.ndarray) -> np.ndarray:
    """Coefficients of each arm, by gradient ascent on the penalised likelihood, all of them in one long vector."""
    common, own = np.zeros(FEATURES), np.zeros((ARMS, FEATURES))
    for _ in range(4_000):
        misses = draws.weights * (draws.rewards - logistic(draws.levels + (draws.x * (common + own)[draws.of_arm]).sum(axis=1)))
        pulls = np.stack([draws.x[draws.of_arm == arm].T @ misses[draws.of_arm == arm] for arm in range(ARMS)])
        common = common + 0.02 * (pulls.sum(axis=0) - common_ridge * common)
        own = own + 0.02 * (pulls - own_ridge * own)
    return common + own


def test_fit_is_the_greatest_of_the_penalised_likelihood() -> None:
    """Newton's steps with the arms taken apart end where plain gradient ascent does."""
    draws, common, own = some(), np.array([1.0, 2.0, 3.0, 4.0]), np.array([4.0, 3.0, 2.0, 5.0])

    fitted = regress(draws, common, own)

    assert fitted.coefficients == pytest.approx(slowly(draws, common, own), abs=1e-4)


def test_without_own_parts_all_arms_share_their_coefficients() -> None:
    """An arm's own part is drawn to 0 by an endless ridge: the same as none."""
    draws = some()

    together = regress(draws, np.full(FEATURES, 2.0), None)
    drawn = regress(draws, np.full(FEATURES, 2.0), np.full(FEATURES, 1e9))

    assert together.coefficients == pytest.approx(drawn.coefficients, abs=1e-6)
    assert together.coefficients[0] == pytest.approx(together.common)


@pytest.mark.parametrize("own", [None, 3.0])
def test_predictions_of_traces_left_out_are_those_of_fits_without_them(own: float | None) -> None:
    """Fitting anew without each of twenty traces: one step of Newton's from the whole fit is within .02 of it."""
    draws, common = some(), np.full(FEATURES, 2.0)
    own_ridge = None if own is None else np.full(FEATURES, own)
    left_out = regress(draws, common, own_ridge).left_out
    for place in range(20):
        kept = np.arange(len(draws.rewards)) != place
        without = Draws(
            x=draws.x[kept], of_arm=draws.of_arm[kept], arms=ARMS, rewards=draws.rewards[kept], levels=draws.levels[kept], weights=draws.weights[kept]
        )
        coefficients = regress(without, common, own_ridge).coefficients[draws.of_arm[place]]
        assert left_out[place] == pytest.approx(float(logistic(draws.levels[place] + draws.x[place] @ coefficients)), abs=0.02)


def test_trace_that_weighs_nothing_changes_nothing() -> None:
    """Weights are of evidence: a trace of next to no weight is as good as absent."""
    draws = some()
    weights = draws.weights.copy()
    weights[:60] = 1e-9
    light = Draws(x=draws.x, of_arm=draws.of_arm, arms=ARMS, rewards=draws.rewards, levels=draws.levels, weights=weights)
    fewer = Draws(x=draws.x[60:], of_arm=draws.of_arm[60:], arms=ARMS, rewards=draws.rewards[60:], levels=draws.levels[60:], weights=weights[60:])
    ridge = np.full(FEATURES, 2.0)

    assert regress(light, ridge, ridge).coefficients == pytest.approx(regress(fewer, ridge, ridge).coefficients, abs=1e-5)
