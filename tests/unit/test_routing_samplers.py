"""Samplers: what share of the draws each arm gets, by hand and by what each promises."""

from __future__ import annotations

import math
import random

import pytest

from stream.routing.samplers import GREED, SAMPLERS, divide, inverse_gap, maillard, thompson


def test_inverse_gap_gives_equal_arms_equal_shares_and_worse_ones_less_the_more_is_known() -> None:
    """Shares sum to 1; at no sharpness all are alike; the worst arm's share is 1 / (3 + 100 · .4)."""
    assert inverse_gap([0.3, 0.9, 0.1], 0.0) == pytest.approx([1 / 3] * 3)
    shares = inverse_gap([0.5, 0.5, 0.1], 100.0)
    assert shares[0] == shares[1]
    assert shares[2] == pytest.approx(1 / 43)
    assert math.fsum(shares) == pytest.approx(1.0)


def test_maillard_does_not_give_up_an_arm_of_which_little_is_known() -> None:
    """The same gap of .1, of four arms: half a deviation of the one is exp(-14 / 8) of the best one's share, ten of the others' nothing."""
    best, unknown, *known = maillard([0.6, 0.5, 0.5, 0.5], [0.01, 0.2, 0.01, 0.01])

    assert GREED == 7.0
    assert unknown / best == pytest.approx(math.exp(-1.75))
    assert max(known) < 1e-200


def test_thompson_gives_the_chance_of_being_the_best() -> None:
    """Two normal arms: the difference of .1 over a deviation of sqrt(.1² + .2²) is .4472, of which the normal law has .6726."""
    shares = thompson([0.6, 0.5], [0.1, 0.2])

    assert shares[0] == pytest.approx(0.6726, abs=2e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler_is_blind_to_the_order_of_arms_and_favours_none_of_equal_ones(sampler: str) -> None:
    """Arms turned round are given the same shares turned round, and the best arm the greatest share."""
    rng = random.Random(5)
    for _ in range(30):
        nets = [round(rng.uniform(-1, 1), 2) for _ in range(rng.randint(1, 6))]
        shares = divide(sampler, nets, [0.1] * len(nets), 50.0)
        turned = divide(sampler, nets[::-1], [0.1] * len(nets), 50.0)

        assert shares == pytest.approx(turned[::-1], abs=1e-9)
        assert math.fsum(shares) == pytest.approx(1.0)
        assert max(shares) == pytest.approx(shares[nets.index(max(nets))])
