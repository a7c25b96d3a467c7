"""Arms of which little comes back: what many decisions without a trace do to an arm's share of the draws."""

from __future__ import annotations

from typing import Any

import pytest

from stream.records import ANY_CLASS, Arm
from stream.routing.evidence import ArmEvidence, ClassEvidence
from stream.routing.exploration import explore
from stream.routing.settings import RoutingSettings
from tests.unit.routing_support import NOW_S, by_class, desk, row, scored, shares, statistics

SETTINGS = RoutingSettings(exploration_share=0.2, min_evidence=10, max_unresolved=100)


def class_of(*arms: ArmEvidence, query_class: str = "code") -> ClassEvidence:
    return ClassEvidence(query_class=query_class, arms=arms)


def arm(name: str, *, unresolved: int = 0, rated: int = 0) -> ArmEvidence:
    return ArmEvidence(arm=Arm(model=name), id=name, unresolved=unresolved, by_source=(rated, 0, 0, 0), count=rated)


def test_arms_within_the_limit_are_explored_as_if_nothing_waited() -> None:
    """By hand: .8 of the policy's half each, and .2 in equal parts; 100 decisions that wait are still within the limit of 100."""
    found = explore({"a": 0.5, "b": 0.5}, class_of(arm("a", unresolved=100), arm("b")), SETTINGS)

    assert found == pytest.approx({"a": 0.5, "b": 0.5})


def test_unknown_arm_that_nothing_comes_back_of_is_held() -> None:
    """By hand: of 400 that wait 100 are let in, a quarter of its share, .125 to .5; .8 × .125 / .625 = .16, and no part of the .2 that explores."""
    found = explore({"a": 0.5, "b": 0.5}, class_of(arm("a", unresolved=400), arm("b")), SETTINGS)

    assert found == pytest.approx({"a": 0.16, "b": 0.84})


def test_known_arm_that_is_busy_keeps_what_its_evidence_gives_it() -> None:
    """A thousand requests under way are no fault of an arm with its evidence: it only leaves the exploring draws to others."""
    found = explore({"a": 0.9, "b": 0.1}, class_of(arm("a", unresolved=1_000, rated=50), arm("b", rated=50)), SETTINGS)

    assert found == pytest.approx({"a": 0.81, "b": 0.09 + 0.1})


def test_arms_that_all_wait_share_as_before() -> None:
    """Somebody has to serve; the shares add up to 1 whatever happens."""
    found = explore({"a": 0.5, "b": 0.5}, class_of(arm("a", unresolved=400), arm("b", unresolved=400)), SETTINGS)

    assert found == pytest.approx({"a": 0.5, "b": 0.5})


@pytest.mark.parametrize(("query_class", "limit"), [(ANY_CLASS, 100), ("code", 0)])
def test_limit_holds_neither_for_all_classes_together_nor_when_it_is_zero(query_class: str, limit: int) -> None:
    """The pooled class adds up what every class may have; 0 is an operator's word for no limit."""
    settings = RoutingSettings(exploration_share=0.2, max_unresolved=limit)

    found = explore({"a": 0.5, "b": 0.5}, class_of(arm("a", unresolved=400), arm("b"), query_class=query_class), settings)

    assert found == pytest.approx({"a": 0.5, "b": 0.5})


def waiting(decisions: int) -> list[tuple[int, ...]]:
    """The buckets of an arm of which decisions are all that is known."""
    return [row(UNRESOLVED=decisions)]


def routed(**given: Any):
    routing = desk(**given)
    routing.learn(statistics({"a": waiting(180), "b": scored(30, 10)}, partition=0))
    routing.learn(statistics({"a": waiting(120)}, partition=1))
    return routing, by_class(routing.due(0.0))["code"]


def test_update_adds_up_what_waits_in_all_partitions() -> None:
    """Each of two partitions is below the limit of 200, both together are not; the update says so, and the explanation why."""
    routing, update = routed(exploration_share=0.1)

    assert {found.id: (found.count, found.unresolved) for found in update.arms} == {"a": (0, 300), "b": (40, 0)}
    text = routing.explain("code").text
    assert "No exploring draws while more than 200 decisions wait for their trace: a (300)." in text
    assert "300 decisions still without a trace" in text


def test_arm_gets_its_draws_again_once_its_decisions_are_resolved() -> None:
    """Its traces come, unrated: nothing waits any more, and it is explored as if nothing had happened."""
    routing, held = routed()
    routing.learn(statistics({"a": [row(COUNT=9)], "b": scored(30, 10)}, partition=0, offset=2))
    routing.learn(statistics({}, partition=1, offset=2))

    free = by_class(routing.due(10.0))["code"]

    assert shares(held)["a"] < shares(free)["a"]
    assert {found.id: found.unresolved for found in free.arms} == {"a": 0, "b": 0}


def test_class_with_nothing_but_decisions_is_decided_by_itself() -> None:
    """The limit holds from the first decision of a class on, and a class in which nothing waits any more leaves."""
    routing = desk(declared=(Arm(model="a"), Arm(model="b")))
    routing.learn(statistics({"a": [row(UNRESOLVED=300, start_s=NOW_S - 60)]}))

    update = by_class(routing.due(0.0))["code"]

    assert shares(update)["a"] < shares(update)["b"]
    routing.learn(statistics({}, offset=2))
    assert [found.query_class for found in routing.due(10.0)] == [ANY_CLASS]
    assert routing.retired() == ["code"]
