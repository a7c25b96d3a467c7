"""Drawing from a routing table: probabilities, candidates, withdrawn and pinned arms."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.client.table import MAX_SUBSETS, RoutingTable
from stream.errors import MalformedRecordError
from stream.records import Arm
from tests.broker.client_tools import routing_update

PROBABILITIES = {"a": 0.5, "b": 0.3, "c": 0.2}


def test_draw_takes_the_arm_whose_share_the_random_number_falls_into() -> None:
    """Running sums .5, .8, 1: [0, .5) is a, [.5, .8) is b, [.8, 1) is c."""
    table = RoutingTable.of(routing_update("code", PROBABILITIES))

    drawn = [table.draw(u) for u in (0.0, 0.49, 0.51, 0.79, 0.81, 0.999999)]

    assert [draw and draw.arm.model for draw in drawn] == ["a", "a", "b", "b", "c", "c"]
    assert [draw and draw.propensity for draw in drawn] == pytest.approx([0.5, 0.5, 0.3, 0.3, 0.2, 0.2])
    assert drawn[0] is not None
    assert drawn[0].candidates == ("a", "b", "c")


def test_draw_renormalises_over_the_candidates() -> None:
    """Of b (.3) and c (.2), b has .6 and c .4: the propensity is that of what was really drawn from."""
    table = RoutingTable.of(routing_update("code", PROBABILITIES))

    low, high = table.draw(0.59, ("c", "b", "unknown")), table.draw(0.61, ("c", "b", "unknown"))

    assert low is not None
    assert high is not None
    assert (low.arm.model, low.propensity, low.candidates) == ("b", pytest.approx(0.6), ("b", "c"))
    assert (high.arm.model, high.propensity) == ("c", pytest.approx(0.4))


def test_withdrawn_and_shadow_arms_are_never_drawn_and_their_share_goes_to_the_others() -> None:
    """An update may still give a withdrawn arm a probability; b and c of .3 and .2 then have .6 and .4."""
    table = RoutingTable.of(routing_update("code", PROBABILITIES | {"s": 0.1}, states={"a": "withdrawn", "s": "shadow"}))

    assert table.whole.ids == ("b", "c")
    assert table.whole.shares == pytest.approx((0.6, 0.4))
    assert table.draw(0.5, ("a",)) is None
    assert table.draw(0.5, ("s",)) is None


def test_nothing_is_drawn_where_no_arm_has_a_positive_probability() -> None:
    """An empty update, or one whose only arm is withdrawn, must lead to a fallback and not to an error."""
    assert RoutingTable.of(routing_update("code", {})).draw(0.5) is None
    assert RoutingTable.of(routing_update("code", {"a": 0.0})).draw(0.5) is None
    assert RoutingTable.of(routing_update("code", {"a": 1.0}, states={"a": "withdrawn"})).draw(0.5) is None


def test_ever_new_sets_of_candidates_do_not_grow_the_table() -> None:
    """A caller may name other candidates with each request; what is remembered of them has a bound."""
    table = RoutingTable.of(routing_update("code", PROBABILITIES))

    for number in range(1_000):
        draw = table.draw(0.5, ("a", f"unknown-{number}"))
        assert draw is not None
        assert (draw.arm.model, draw.propensity) == ("a", 1.0)

    assert len(table.subsets) <= MAX_SUBSETS


@pytest.mark.parametrize("probability", [-0.1, float("nan"), float("inf")])
def test_probability_that_is_none_is_refused(probability: float) -> None:
    """A router that took it over would draw nonsense for every request until the next update."""
    with pytest.raises(MalformedRecordError):
        RoutingTable.of(routing_update("code", {"a": 0.5, "b": probability}))


@pytest.mark.parametrize("probabilities", [{"a": 1e308, "b": 1e308}, {"": 0.5, "b": 0.5}, {"a": 1.5}])
def test_update_that_no_desk_wrote_is_refused(probabilities: dict[str, float]) -> None:
    """Sums that leave the floats, and an arm without a name, which would serve as an empty one."""
    with pytest.raises(MalformedRecordError):
        RoutingTable.of(routing_update("code", probabilities))


def test_update_that_names_an_arm_twice_is_refused() -> None:
    """Which of its shares would it have?"""
    update = routing_update("code", {"a": 0.5})
    with pytest.raises(MalformedRecordError):
        RoutingTable.of(msgspec.structs.replace(update, arms=update.arms * 2))


def test_pinned_update_gives_its_arm() -> None:
    """A pin is an operator's word and no draw; only its policy tells it from an arm that won with probability 1."""
    pinned = RoutingTable.of(routing_update("code", {"a": 1.0, "b": 0.0}, policy="pinned"))

    assert pinned.pinned == Arm(model="a")
    assert RoutingTable.of(routing_update("code", {"a": 1.0, "b": 0.0})).pinned is None


def test_frequencies_follow_the_probabilities() -> None:
    """Pearson's statistic of 20,000 draws over 3 arms has 2 degrees of freedom: above 18.4 with probability 1e-4 (seeded)."""
    table, rng, count = RoutingTable.of(routing_update("code", PROBABILITIES)), random.Random(20260101), 20_000

    drawn = Counter(draw.arm.model for _ in range(count) if (draw := table.draw(rng.random())))

    expected = {name: probability * count for name, probability in PROBABILITIES.items()}
    assert sum((drawn[name] - mean) ** 2 / mean for name, mean in expected.items()) < 18.4


WEIGHTS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1, allow_subnormal=False), min_size=1)


@given(WEIGHTS, st.floats(0, 1, exclude_max=True), st.sets(st.sampled_from("abcdefghx")))
def test_draw_among_candidates_has_the_slow_obvious_propensity(weights: dict[str, float], u: float, candidates: set[str]) -> None:
    """For any probabilities and candidates: an eligible arm of positive probability, with weight over the candidates' sum."""
    table = RoutingTable.of(routing_update("code", weights))

    draw = table.draw(u, tuple(candidates))

    eligible = {arm_id: weight for arm_id, weight in weights.items() if arm_id in candidates and weight > 0}
    if draw is None:
        assert not eligible
        return
    assert set(draw.candidates) == set(eligible)
    assert 0 < draw.propensity <= 1
    assert draw.propensity == pytest.approx(eligible[draw.arm.id] / sum(eligible.values()), rel=1e-9)


@given(WEIGHTS, st.floats(0, 1, exclude_max=True))
def test_draw_without_candidates_equals_a_draw_among_all_of_them(weights: dict[str, float], u: float) -> None:
    """The precomputed path and the general one are the same function."""
    table = RoutingTable.of(routing_update("code", weights))

    fast, general = table.draw(u), table.draw(u, tuple(weights))

    assert (fast is None) == (general is None)
    if fast is not None and general is not None:
        assert (fast.arm, fast.candidates) == (general.arm, general.candidates)
        assert fast.propensity == pytest.approx(general.propensity, rel=1e-12)
