"""Confidence: bounds that hold at any moment, and the best arm that they name."""

from __future__ import annotations

import random

import pytest

from stream.records import Arm
from stream.routing.confidence import interval, judge
from stream.routing.evidence import ArmEvidence, ClassEvidence, Tally


def arm(name: str, successes: float, failures: float, undrawn: Tally = Tally()) -> ArmEvidence:  # noqa: B008
    return ArmEvidence(arm=Arm(model=name), id=name, drawn=Tally(successes + failures, successes, successes), confounded=undrawn)


def test_three_failures_bound_the_mean_by_three_quarters() -> None:
    """The mixture's likelihood is B(½, 3½)/B(½, ½) = ½·1½·2½/3! = .3125; (1 - p)³ = .05 · .3125 = .015625 gives p = .75."""
    assert interval(3.0, 0.0, 0.05) == pytest.approx((0.0, 0.75))
    assert interval(3.0, 3.0, 0.05) == pytest.approx((0.25, 1.0))


@pytest.mark.parametrize(("weight", "total"), [(1e-9, 1e-10), (0.5, 0.2), (10, 7), (1e7, 1e7), (1e7, 1e7 - 1), (1e7, 3), (1e7, 5e6), (20, 19.9999999), (1e7, 1e-8)])
def test_an_interval_holds_its_mean_however_extreme(weight: float, total: float) -> None:
    """Decay makes weights of any size; a bound outside of [0, 1] or on the wrong side would name a false winner."""
    low, high = interval(float(weight), float(total), 0.05)

    assert 0.0 <= low <= total / weight <= high <= 1.0


def test_more_scores_narrow_an_interval_and_less_risk_widens_it() -> None:
    """Otherwise collecting evidence would never end."""
    widths = [high - low for low, high in (interval(n, 0.7 * n, 0.05) for n in (10.0, 100.0, 1000.0, 1e6))]

    assert widths == sorted(widths, reverse=True)
    assert interval(100.0, 70.0, 0.001)[0] < interval(100.0, 70.0, 0.05)[0]


@pytest.mark.parametrize("graded", [False, True])
def test_an_interval_that_is_looked_at_after_every_score_holds(graded: bool) -> None:
    """Of 200 sequences of 500 scores with mean .3, each looked at 500 times, at most 5 % may ever be missed.

    More than 10 + 3.3 · √(200 · .05 · .95) = 20 misses would happen with probability below 1e-3 at exactly 5 %; it is seeded.
    """
    rng, misses = random.Random(5), 0
    for _ in range(200):
        total, held = 0.0, True
        for count in range(1, 501):
            total += rng.choice([0.1, 0.5]) if graded else rng.random() < 0.3
            low, high = interval(float(count), total, 0.05)
            held = held and low <= 0.3 <= high
        misses += not held

    assert misses <= 20


def test_a_best_arm_is_named_once_its_bound_is_above_all_others() -> None:
    """90 % against 10 % over 200 draws is proven, over 4 it is not."""
    proven = judge(ClassEvidence(query_class="c", arms=(arm("a", 180, 20), arm("b", 20, 180))), 0.05)
    early = judge(ClassEvidence(query_class="c", arms=(arm("a", 3, 1), arm("b", 1, 3))), 0.05)

    assert (proven.best_arm, early.best_arm) == ("a", None)


def test_an_arm_that_was_never_scored_forbids_a_best_one() -> None:
    """Its mean may be 1."""
    assert judge(ClassEvidence(query_class="c", arms=(arm("a", 180, 20), arm("b", 20, 180), arm("new", 0, 0))), 0.05).best_arm is None


def test_traces_that_no_router_drew_prove_nothing() -> None:
    """Whoever chose those arms may have given one of them the easy requests."""
    undrawn = arm("a", 0, 0, undrawn=Tally(1e5, 1e5, 1e5)), arm("b", 0, 0, undrawn=Tally(1e5, 0.0, 0.0))
    verdict = judge(ClassEvidence(query_class="c", arms=undrawn), 0.05)

    assert verdict.best_arm is None
    assert "no scored trace was drawn" in verdict.reason


def test_one_arm_alone_is_not_the_best() -> None:
    """There is nothing that it was compared with."""
    assert judge(ClassEvidence(query_class="c", arms=(arm("a", 1e6, 0),)), 0.05).best_arm is None


def test_equal_arms_have_no_winner_in_nineteen_of_twenty_histories() -> None:
    """A/A: 150 histories of 3 equal arms, looked at after each of 200 rounds; above 5 % + 3.3 sd = 16 happens with p < 1e-3."""
    rng, winners = random.Random(11), 0
    for _ in range(150):
        successes = [0] * 3
        for count in range(1, 201):
            successes = [so_far + (rng.random() < 0.5) for so_far in successes]
            arms = tuple(arm(f"m{number}", found, count - found) for number, found in enumerate(successes))
            if count % 10 == 0 and judge(ClassEvidence(query_class="c", arms=arms), 0.05).best_arm:
                winners += 1
                break

    assert winners <= 16


def test_every_arm_gets_an_equal_part_of_the_risk() -> None:
    """Ten intervals that each fail with .05 would name a false winner far more often."""
    arms = tuple(arm(f"m{number}", 30, 20) for number in range(10))

    assert judge(ClassEvidence(query_class="c", arms=arms), 0.05).intervals["m3"] == interval(50.0, 30.0, 0.005)
