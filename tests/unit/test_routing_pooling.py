"""What other classes say of an arm: how much of it counts, and what it is taken off."""

from __future__ import annotations

import random

import pytest

from stream.routing.evidence import Tally
from stream.routing.pooling import ASSUMED_STRENGTH, LEAST_STRENGTH, Pooled, pool

MOST = 200.0


def tally(weight: float, mean: float) -> Tally:
    return Tally(weight, weight * mean, weight * mean)


def layout(rng: random.Random, *, particular: float, classes: int = 12, each: int = 60) -> list[dict[str, Tally]]:
    """Classes of arms with means .3 to .7, each moved by a class part and by so much at random of its own."""
    found = []
    for _ in range(classes):
        part = rng.uniform(-0.15, 0.15)
        means = {name: min(max(mean + part + rng.gauss(0, particular), 0.02), 0.98) for name, mean in (("a", 0.3), ("b", 0.5), ("c", 0.7))}
        found.append({name: tally(each, sum(rng.random() < mean for _ in range(each)) / each) for name, mean in means.items()})
    return found


def test_nothing_is_known_without_traces() -> None:
    """No class, or none with a score: no prior, and the strength that is assumed."""
    assert pool([], MOST) == Pooled()
    assert pool([{"a": Tally()}], MOST).strength == ASSUMED_STRENGTH
    assert Pooled().prior("a", Tally(), 0.0) == Tally()


def test_classes_that_differ_in_nothing_particular_count_for_much() -> None:
    """Twelve classes whose arms keep their distances: other classes weigh many times what is assumed."""
    assert pool(layout(random.Random(2), particular=0.0), MOST).strength > 60.0


def test_classes_that_have_nothing_in_common_count_for_little() -> None:
    """Means moved by .25 at random in every class: variance of a score over that, .25 / .0625, is four traces; less than is assumed beforehand."""
    assert LEAST_STRENGTH <= pool(layout(random.Random(2), particular=0.25), MOST).strength < ASSUMED_STRENGTH


def test_prior_is_moved_by_how_hard_the_class_is() -> None:
    """Arm `a` does .9 and `b` .7 elsewhere; here `b` does .3 over many traces: `a` is expected as much below .9, at .5."""
    elsewhere, here = {"a": tally(500, 0.9), "b": tally(500, 0.7)}, {"b": tally(500, 0.3)}
    together = pool([elsewhere, here], MOST)

    prior = together.prior("a", Tally(), together.part_of(here))

    assert prior.mean == pytest.approx(0.5, abs=0.03)
    assert prior.weight == together.strength


def test_a_class_is_not_told_what_it_said_itself() -> None:
    """The only class of an arm has no prior for it."""
    own = {"a": tally(50, 0.8)}
    together = pool([own, {"b": tally(50, 0.5)}], MOST)

    assert together.prior("a", own["a"], together.part_of(own)) == Tally()


def test_no_more_counts_than_there_is() -> None:
    """Three traces elsewhere weigh three, whatever the strength."""
    together = pool([{"a": tally(3, 1.0), "b": tally(400, 0.5)}, {"b": tally(400, 0.5)}], MOST)

    assert together.prior("a", Tally(), 0.0).weight == 3.0
