"""Explanations: plain sentences that say why, from the evidence or from a published update alone."""

from __future__ import annotations

import msgspec

from stream.fold.totals import Sum
from stream.records import Arm, Override, RoutingUpdate
from stream.routing.explanation import explain_update
from tests.unit.routing_support import by_class, desk, row, scored, statistics


def test_an_explanation_says_what_stands_behind_every_share() -> None:
    """Counts, sources, what was drawn, and what the runner-up lacks."""
    routing = desk()
    routing.learn(statistics({"a": [*scored(30, 10), *scored(900, 100, drawn=0)], "b": [row(1, 0, source=Sum.OUTCOME)]}))

    found = routing.explain("code")

    assert "Class code is decided by policy thompson" in found.text
    assert "Of a's 1040 traces, 40 were drawn by a router and 1000 were not; those not drawn weigh at most 20 traces together" in found.text
    assert "scores: 2 by outcome" in found.text
    assert "No best arm is named" in found.text
    assert any("b would lead if its mean rose" in sentence for sentence in found.would_change)
    assert any("explored: b (8)" in sentence for sentence in found.would_change)


def test_an_explanation_names_the_operators_word_and_its_reason() -> None:
    """Who asks why an arm serves must not have to look elsewhere."""
    routing = desk()
    routing.learn(statistics({"a": scored(30, 10)}))
    for override in (Override(kind="pin", query_class="code", arm=Arm(model="b"), reason="incident 7"), Override(kind="withdraw", arm=Arm(model="a"))):
        routing.override(override.key, override)

    found = routing.explain("code")

    assert found.overrides == (
        "An operator has pinned (b) for class code, because: incident 7.",
        "An operator has withdrawn (a) for every class.",
    )
    assert "decided by an operator's pin" in found.text
    assert "a gets 0.0% of the draws, withdrawn" in found.text


def test_an_update_explains_itself_after_travelling() -> None:
    """`eddy routes explain` may know nothing but the record on the topic."""
    routing = desk()
    routing.learn(statistics({"a": scored(800, 200), "b": scored(500, 500)}))
    travelled = msgspec.json.decode(msgspec.json.encode(by_class(routing.due(0.0))["code"]), type=RoutingUpdate)

    text = explain_update(travelled)

    assert "Best arm is a: its draws prove it better than every other, at whatever moment one looks, with 95.0%." in text
    assert "b gets" in text
    assert "1000 traces, 1000 scored, mean 0.500 in [" in text
    assert "of which 1.0% of the draws explore" in text


def test_an_explanation_of_an_unknown_class_says_that_nothing_is_there() -> None:
    """It is asked by people, who misspell."""
    found = desk(default_arm=Arm(model="a")).explain("no such class")

    assert "0 of the 10 scored traces that this class needs are there" in found.text
    assert "10 more scored traces would let the evidence lead." in found.would_change


def test_a_hundred_arms_do_not_make_a_hundred_lines() -> None:
    """The rest are counted."""
    routing = desk()
    routing.learn(statistics({f"m{number:03}": scored(1, 1) for number in range(100)}))

    assert "80 more arms have smaller shares." in routing.explain("code").text


def test_an_explanation_says_what_the_unrated_could_make_of_a_mean() -> None:
    """Of ten traces two are scored, one of them well: the mean of all lies between .1 and .9, whatever an interval around .5 says."""
    routing = desk()
    routing.learn(statistics({"a": [row(1, 0, COUNT=10)]}))

    assert "(of all its traces from 0.100 to 0.900, by what those without a score were)" in routing.explain("code").text
