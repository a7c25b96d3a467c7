"""What each simple policy does, beside the properties that all share (tests/checks/test_policies.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream.records import Arm
from stream.routing.evidence import ArmEvidence, ClassEvidence, Tally
from stream.routing.exploration import UNRATED_PATIENCE, explore
from stream.routing.registry import policies, policy_named
from stream.routing.settings import RoutingSettings

SETTINGS = RoutingSettings(min_evidence=10)
WITH_DEFAULT = RoutingSettings(min_evidence=10, default_arm=Arm(model="a"))


def arm(name: str, successes: int = 0, failures: int = 0, *, count: int = 0, prior: Tally = Tally()) -> ArmEvidence:  # noqa: B008
    rated = successes + failures
    return ArmEvidence(arm=Arm(model=name), id=name, drawn=Tally(rated, successes, successes), prior=prior, count=max(count, rated), by_source=(rated, 0, 0, 0))


def shares(policy: str, *arms: ArmEvidence, settings: RoutingSettings = SETTINGS) -> dict[str, float]:
    evidence = ClassEvidence(query_class="c", arms=arms)
    return dict(policy_named(policy).probabilities(evidence, settings).probabilities)


def test_registry_names_its_policies() -> None:
    """The names are what `EDDY_POLICY` takes."""
    assert list(policies()) == ["thompson", "contextual", "epsilon_greedy", "ucb", "learned", "heuristic", "static"]


def test_thompson_gives_the_probability_of_being_the_best() -> None:
    """Beta(2, 1) against Beta(1, 2), from one success and one failure: P = 5/6 (∫ 2x · (2x - x²) dx = 4/3 - 1/2)."""
    settings = RoutingSettings(min_evidence=1)

    assert shares("thompson", arm("a", 1, 0), arm("b", 0, 1), settings=settings) == pytest.approx({"a": 5 / 6, "b": 1 / 6}, abs=1e-5)


def test_thompson_takes_other_classes_as_its_prior() -> None:
    """A class without a trace of its own starts from what its arms earned elsewhere: Beta(5, 1) against Beta(1, 5)."""
    found = shares("thompson", arm("a", prior=Tally(4, 4, 4)), arm("b", prior=Tally(4, 0, 0)))

    assert found["a"] > 0.99


def test_epsilon_greedy_takes_the_best_mean_with_one_success_and_one_failure_added() -> None:
    """(9 + 1)/(10 + 2) = .833 before (1 + 1)/(1 + 2) = .667: one lucky trace does not lead. Equal ones share."""
    assert shares("epsilon_greedy", arm("a", 9, 1), arm("b", 1, 0)) == {"a": 1.0, "b": 0.0}
    assert shares("epsilon_greedy", arm("a", 5, 5), arm("b", 1, 1)) == {"a": 0.5, "b": 0.5}


def test_ucb_takes_what_may_be_the_best() -> None:
    """Of an arm never scored the mean may be 1; of two with the same mean the one with fewer scores may be better."""
    assert shares("ucb", arm("a", 9, 1), arm("b", 0, 0)) == {"a": 0.0, "b": 1.0}
    assert shares("ucb", arm("a", 40, 40), arm("b", 4, 4)) == {"a": 0.0, "b": 1.0}
    assert shares("ucb", arm("a", 90, 10), arm("b", 10, 90)) == {"a": 1.0, "b": 0.0}


def test_learned_takes_the_best_of_those_with_enough_evidence() -> None:
    """Nine perfect traces are not ten."""
    assert shares("learned", arm("a", 6, 4), arm("b", 9, 0), arm("c", 5, 5)) == {"a": 1.0, "b": 0.0, "c": 0.0}


def test_learned_without_enough_evidence_does_as_the_heuristic() -> None:
    """Half to the default arm, the rest alike."""
    assert shares("learned", arm("a"), arm("b"), settings=WITH_DEFAULT) == {"a": 0.75, "b": 0.25}


def test_heuristic_lets_the_default_arm_serve_a_warm_class() -> None:
    """It takes no word of the evidence against a default."""
    assert shares("heuristic", arm("a", 0, 50), arm("b", 50, 0), settings=WITH_DEFAULT) == {"a": 1.0, "b": 0.0}


def test_heuristic_without_a_default_arm_takes_the_best_mean() -> None:
    """What else could lead."""
    assert shares("heuristic", arm("a", 0, 50), arm("b", 50, 0)) == {"a": 0.0, "b": 1.0}


def test_static_serves_the_default_arm_alone() -> None:
    """Not even when it fails, and never exploring."""
    assert shares("static", arm("a", 0, 50), arm("b", 50, 0), settings=WITH_DEFAULT) == {"a": 1.0, "b": 0.0}
    assert not policy_named("static").explores


def test_exploration_favours_what_is_to_be_explored() -> None:
    """Share .2 over four arms, one of them new: .025 each, and .1 more for the new one."""
    settings = RoutingSettings(exploration_share=0.2)
    evidence = ClassEvidence(query_class="c", arms=(arm("a", 50, 0), arm("b", 0, 50), arm("c", 0, 50), arm("new")))

    found = explore({"a": 1.0, "b": 0.0, "c": 0.0, "new": 0.0}, evidence, settings)

    assert found == pytest.approx({"a": 0.825, "b": 0.025, "c": 0.025, "new": 0.125})


def test_exploration_stops_favouring_an_arm_that_nobody_rates() -> None:
    """Else an arm whose traces are never scored would be explored for ever: it is left its part, a quarter of .01, of what all get alike."""
    unrated = arm("unrated", count=UNRATED_PATIENCE * SETTINGS.min_evidence)
    evidence = ClassEvidence(query_class="c", arms=(arm("a", 50, 0), unrated))

    assert explore({"a": 1.0, "unrated": 0.0}, evidence, SETTINGS) == pytest.approx({"a": 0.9975, "unrated": 0.0025})


def test_exploration_looks_again_at_an_arm_that_has_changed() -> None:
    """By hand: `near` is at 41/52, `far` at 11/52, the best at 51/52, and a hundredth of reward a request is halved over the two.

    It pays for .01 / (10/52) / 2 = .026 and .01 / (40/52) / 2 = .0065 of the draws; to all alike go .0033 each beside that.
    """
    settings = RoutingSettings(exploration_share=0.02)
    near, far = (replace(arm(name, good, 50 - good), changed_s=60) for name, good in (("near", 40), ("far", 10)))
    evidence = ClassEvidence(query_class="c", arms=(arm("a", 50, 0), far, near))

    found = explore({"a": 1.0, "near": 0.0, "far": 0.0}, evidence, settings)

    assert found["near"] == pytest.approx(0.01 / 3 + 0.026)
    assert found["far"] == pytest.approx(0.01 / 3 + 0.0065)
    assert found["a"] == pytest.approx(1.0 - found["near"] - found["far"])
