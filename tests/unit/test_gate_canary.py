"""The gate for a canary: two arms that never serve the same request."""

from __future__ import annotations

import random

import pytest

from stream.errors import GateError
from stream.learning.gate import CanaryGate


def rewards(rng: random.Random, rate: float, count: int) -> list[float]:
    """Rewards that are 1 with a chance."""
    return [float(rng.random() < rate) for _ in range(count)]


def test_equal_canary_is_hardly_ever_promoted() -> None:
    """300 canaries with 200 rewards at alpha .05: 15 at most are expected, more than 29 would happen with p < 1e-3. Seeded."""
    rng, gate = random.Random(2), CanaryGate(alpha=0.05, share=0.2, max_rewards=200)

    wrong = sum(gate.look(rewards(rng, 0.7, 800), rewards(rng, 0.7, 200)).is_promotion for _ in range(300))

    assert wrong <= 29


def test_stated_number_shows_the_stated_effect() -> None:
    """Control .5, canary .7, a share of a tenth: planned for 80 %. 200 canaries: fewer than 130 would happen with p < 1e-5. Seeded."""
    rng = random.Random(4)
    needed = CanaryGate(alpha=0.025, share=0.1, max_rewards=1).needed(variance=0.25, effect=0.2)
    gate = CanaryGate(alpha=0.025, share=0.1, max_rewards=needed)

    found = sum(gate.look(rewards(rng, 0.5, 9 * needed), rewards(rng, 0.7, needed)).is_promotion for _ in range(200))

    assert found >= 130


def test_harmful_canary_is_withdrawn_long_before_its_end() -> None:
    """Requests that it spoils cost more than those it does not get: 40 points worse is proven in the first hundred of 2,000."""
    rng = random.Random(6)

    judgement = CanaryGate(alpha=0.025, share=0.05, max_rewards=2_000).look(rewards(rng, 0.8, 19 * 300), rewards(rng, 0.4, 300))

    assert judgement.verdict == "reject"
    assert judgement.n < 150
    assert judgement.reason.startswith("Proven not better")


def test_differences_are_set_against_as_many_of_the_control_as_the_share_says() -> None:
    """At a quarter three rewards of the control come to one: means 2/3 and 0, so differences 1/3 and 0; the third one still waits for its three."""
    gate = CanaryGate(alpha=0.05, share=0.25, max_rewards=100)

    judgement = gate.look([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 1.0])

    assert gate.controls == 3
    assert (judgement.n, judgement.estimate) == (2, pytest.approx(1 / 6))


@pytest.mark.parametrize("share", [0.0, 0.6, -1.0])
def test_share_that_is_none_is_refused(share: float) -> None:
    """A canary with more than half of the requests is the control."""
    with pytest.raises(GateError):
        CanaryGate(alpha=0.05, share=share, max_rewards=100)


def test_reward_outside_of_its_range_is_refused() -> None:
    """One reward of 30 would decide alone."""
    with pytest.raises(GateError):
        CanaryGate(alpha=0.05, share=0.5, max_rewards=100).look([30.0], [1.0])
