"""Quadrature: the probability of being the best, against closed forms."""

from __future__ import annotations

import math
import random

import pytest

from stream.records import Arm
from stream.routing.evidence import ArmEvidence, Tally
from stream.routing.posterior import Beta, Normal, Posterior, posterior
from stream.routing.quadrature import best_probabilities


def log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def exact_second_is_greater(first: tuple[int, int], second: tuple[int, int]) -> float:
    """P(Beta(c, d) > Beta(a, b)) for integers: the sum over i < c of B(a+i, b+d) / ((d+i) B(1+i, d) B(a, b)).

    Source: E. Miller, Formulas for Bayesian A/B Testing, 2013.
    """
    (a, b), (c, d) = first, second
    return math.fsum(math.exp(log_beta(a + i, b + d) - math.log(d + i) - log_beta(1 + i, d) - log_beta(a, b)) for i in range(c))


def test_best_of_two_agrees_with_the_exact_sum() -> None:
    """500 pairs of parameters up to 3,000, narrow against wide ones included."""
    rng = random.Random(7)
    for _ in range(500):
        scales = rng.choice([3, 30, 300, 3000]), rng.choice([3, 30, 300, 3000])
        first, second = ((1 + rng.randrange(scale), 1 + rng.randrange(scale)) for scale in scales)

        found = best_probabilities([Beta(*map(float, first)), Beta(*map(float, second))])[1]

        assert found == pytest.approx(exact_second_is_greater(first, second), abs=5e-6), (first, second)


@pytest.mark.parametrize("arms", [2, 3, 12, 71])
def test_best_of_powers_has_a_closed_form(arms: int) -> None:
    """Beta(k, 1) is the greatest of k uniforms: among Beta(k_i, 1) the i-th is the best with k_i / Σ k_j."""
    powers = [1.0 + number for number in range(arms)]

    found = best_probabilities([Beta(power, 1.0) for power in powers])

    assert found == pytest.approx([power / sum(powers) for power in powers], abs=1e-5)


def test_best_of_fractional_powers_has_the_same_closed_form() -> None:
    """Decay makes fractional counts, whose densities are not smooth at the bounds of [0, 1]."""
    powers = [1.3, 2.7, 1.05]

    assert best_probabilities([Beta(power, 1.0) for power in powers]) == pytest.approx([power / sum(powers) for power in powers], abs=1e-5)
    # 1 - Beta(1, k) is Beta(k, 1): of two, Beta(1, k) is the greater with j / (k + j).
    assert best_probabilities([Beta(1.0, 1.3), Beta(1.0, 2.7)])[0] == pytest.approx(2.7 / 4.0, abs=1e-5)


def test_best_of_two_normals_agrees_with_the_error_function() -> None:
    """P(X > Y) = Φ((m1 - m2) / √(s1² + s2²))."""
    for one, other in [((0.5, 0.1), (0.4, 0.2)), ((0.9, 0.001), (0.9005, 0.002)), ((0.2, 0.3), (0.8, 0.01))]:
        z = (one[0] - other[0]) / math.hypot(one[1], other[1])

        found = best_probabilities([Normal(*one), Normal(*other)])[0]

        assert found == pytest.approx(0.5 * math.erfc(-z / math.sqrt(2)), abs=5e-6)


@pytest.mark.parametrize("one", [Beta(3.0, 4.0), Beta(1.0, 1.0), Normal(0.3, 0.1), Beta(1e7, 1.0)])
@pytest.mark.parametrize("count", [1, 2, 128])
def test_equal_posteriors_share_alike(one: Posterior, count: int) -> None:
    """Nothing tells them apart."""
    assert best_probabilities([one] * count) == pytest.approx([1 / count] * count, abs=1e-12)


def test_ten_million_traces_are_still_told_apart() -> None:
    """Beta(n, 1) against Beta(n - 5, 6) is Gamma(1) against Gamma(6) in the limit: the first is the greater with 1 - 2^-6.

    (1 - X is about a Gamma variable over n; of a Poisson process's marks, each heads or tails, the first is a tail before six
    heads have come unless all six are heads: 1 - 2^-6.)
    """
    found = best_probabilities([Beta(1e7, 1.0), Beta(1e7 - 5, 6.0), Beta(1.0, 1.0)])

    assert found[0] == pytest.approx(1 - 2**-6, abs=1e-5)
    assert found[2] < 1e-6


def test_a_hopeless_arm_gets_nothing_and_no_error() -> None:
    """Supports that do not meet: probability 0, and the rest unchanged."""
    assert best_probabilities([Beta(9e6, 1e6), Beta(1e6, 9e6)]) == [1.0, 0.0]


def test_beta_and_normal_posteriors_mix() -> None:
    """Within one class one arm's scores may be graded and another's not; Beta(500, 500) is nearly Normal(.5, .0158)."""
    mixed = best_probabilities([Normal(0.5, 0.5 / math.sqrt(1001)), Beta(500.0, 500.0)])

    assert mixed == pytest.approx([0.5, 0.5], abs=1e-4)


def test_a_normal_beyond_the_bounds_of_a_beta_is_handled() -> None:
    """A graded arm with few scores reaches above 1, where no Beta lives: P(N(1.2, .1) > U) = 1 - E[(1 - X)+] to six digits."""
    found = best_probabilities([Normal(1.2, 0.1), Beta(1.0, 1.0)])

    z = 2.0
    below = 0.1 * (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) - z * 0.5 * math.erfc(z / math.sqrt(2)))
    assert found[1] == pytest.approx(below, abs=1e-5)


def evidence(graded: bool, *scores: float, prior: Tally = Tally()) -> ArmEvidence:  # noqa: B008
    squares = sum(score * score for score in scores)
    return ArmEvidence(arm=Arm(model="m"), id="m", drawn=Tally(len(scores), sum(scores), squares), graded=graded, prior=prior)


def test_binary_scores_make_a_beta_posterior() -> None:
    """Uniform prior, three successes, one failure, and half a success out of one trace in other classes."""
    found = posterior(evidence(False, 1, 1, 1, 0, prior=Tally(1.0, 0.5, 0.5)))

    assert found == Beta(1 + 3.5, 1 + 1.5)


def test_graded_scores_make_a_normal_posterior() -> None:
    """Scores .6 and .8: variance (.02 + 2/12) / 4 = .04667; precision 12 + 2/.04667 = 54.857; mean (6 + 30) / 54.857."""
    found = posterior(evidence(True, 0.6, 0.8))

    assert isinstance(found, Normal)
    assert found.mean == pytest.approx(36 / 54.857142857)
    assert found.deviation == pytest.approx(54.857142857**-0.5)


def test_several_equal_ones_count_each() -> None:
    """Beta(1, 2) against two uniforms: ∫ 2(1 - x) x² dx = 1/6; were the two counted as one, it would be 1/5 of the sum."""
    assert best_probabilities([Beta(1.0, 1.0), Beta(1.0, 2.0), Beta(1.0, 1.0)]) == pytest.approx([5 / 12, 1 / 6, 5 / 12], abs=1e-5)
