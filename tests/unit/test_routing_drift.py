"""A change of an arm's mean is noticed, dated, and what was before it is left out."""

from __future__ import annotations

import random

import pytest

from stream.routing.book import Book
from stream.routing.drift import FALSE_ALARM, Span, changed_since
from stream.routing.evidence import Tally
from stream.routing.settings import RoutingSettings
from tests.unit.routing_support import FOLD, NOW_S, row, statistics


def spans(rng: random.Random, *phases: tuple[int, float], each: int = 10) -> list[Span]:
    """Minutes of so many traces each, of a mean that changes between phases."""
    means = [mean for minutes, mean in phases for _ in range(minutes)]
    scores = [float(sum(rng.random() < mean for _ in range(each))) for mean in means]
    return [Span(60 * minute, float(each), score, score) for minute, score in enumerate(scores)]


def test_a_mean_that_stays_is_seldom_taken_for_changed() -> None:
    """400 histories of 60 minutes, looked at after every tenth: at most 1 % may alarm; 12 or more of 400 would come up with probability 1e-3."""
    alarms = 0
    for seed in range(400):
        history = spans(random.Random(seed), (60, 0.7))
        alarms += any(changed_since(history[:end]) is not None for end in range(10, 61, 10))

    assert alarms < 12
    assert FALSE_ALARM == 0.01


@pytest.mark.parametrize(("before", "after"), [(0.9, 0.5), (0.4, 0.8)])
def test_a_change_is_dated_to_within_some_minutes(before: float, after: float) -> None:
    """By .4 either way, 300 traces before and 200 after: found, and within three minutes of when it was."""
    for seed in range(20):
        found = changed_since(spans(random.Random(seed), (30, before), (20, after)))

        assert found is not None
        assert abs(found / 60 - 30) <= 3


def test_the_last_of_several_changes_counts() -> None:
    """Down and up again: what is left begins with the second change."""
    found = changed_since(spans(random.Random(1), (30, 0.9), (30, 0.5), (30, 0.9)))

    assert found is not None
    assert abs(found / 60 - 60) <= 3


def test_evidence_begins_with_the_change_and_the_arm_is_explored_again() -> None:
    """Ten minutes of ten successes, then ten of ten failures, the last not over: nine minutes of failures, and the tenth, are what is believed."""
    book = Book(RoutingSettings(), FOLD)
    good = [row(*[1.0] * 10, start_s=NOW_S + 60 * minute) for minute in range(10)]
    bad = [row(*[0.0] * 10, start_s=NOW_S + 60 * minute) for minute in range(10, 20)]
    book.learn(statistics({"a": good + bad}, log_time_s=NOW_S + 20 * 60 - 1))

    arm = book.evidence("code").of("a")

    assert arm is not None
    assert arm.changed_s == NOW_S + 600
    assert arm.drawn.total == 0.0
    assert arm.drawn.weight == pytest.approx(100.0, rel=0.01)
    assert arm.rated_since_change == 100
    assert arm.rated_count == arm.count == 200


def test_what_other_classes_knew_of_an_arm_before_it_changed_says_nothing_of_it_since() -> None:
    """`a` falls from 1 to 0 in class `code` alone, `b` stays at 1: `prose`, where `a` is as it was, is no prior for it in `code`, and `b`'s prior there stays 1.
    Once `a` has fallen in `prose` too, either class is a prior of 0 for the other, and for one that is too young to tell.
    """
    book, minutes = Book(RoutingSettings(), FOLD), range(20)
    good = [row(*[1.0] * 10, start_s=NOW_S + 60 * minute) for minute in minutes]
    fallen = [row(*[float(minute < 10)] * 10, start_s=NOW_S + 60 * minute) for minute in minutes]
    end_s = NOW_S + 21 * 60

    def prior(query_class: str, name: str) -> Tally:
        arm = book.evidence(query_class).of(name)
        assert arm is not None
        return arm.prior

    for offset, (of_prose, mean) in enumerate([(good, None), (fallen, 0.0)], start=1):
        book.learn(statistics({"a": fallen, "b": good}, query_class="code", offset=offset, log_time_s=end_s))
        book.learn(statistics({"a": of_prose, "b": good}, query_class="prose", offset=offset, log_time_s=end_s))

        assert prior("code", "a").mean == (None if mean is None else pytest.approx(mean, abs=0.05))
        assert prior("code", "b").mean == pytest.approx(1.0, abs=0.05)
    book.learn(statistics({"a": [row(1.0, start_s=end_s - 120)], "b": good}, query_class="young", log_time_s=end_s))
    assert prior("young", "a").mean == pytest.approx(0.0, abs=0.1)


def test_a_revised_rating_of_a_past_minute_is_looked_at_again() -> None:
    """Twenty equal minutes; then the last ten are all rated down, while the clock stands still: the change is found all the same."""
    book, minutes = Book(RoutingSettings(), FOLD), range(20)
    end_s = NOW_S + 21 * 60
    book.learn(statistics({"a": [row(*[1.0] * 10, start_s=NOW_S + 60 * minute) for minute in minutes]}, log_time_s=end_s))
    before = book.evidence("code").of("a")
    book.learn(statistics({"a": [row(*[float(minute < 10)] * 10, start_s=NOW_S + 60 * minute) for minute in minutes]}, offset=2, log_time_s=end_s))
    after = book.evidence("code").of("a")

    assert before is not None
    assert after is not None
    assert (before.changed_s, after.changed_s) == (None, NOW_S + 600)


def test_costs_of_late_count_for_what_is_expected() -> None:
    """A hundred traces at a dollar, then twenty at ten cents: 1/4 of the weight is left to the dollar (two halvings): .1 + .9 / 4 = .325."""
    book = Book(RoutingSettings(max_cost_usd=1.0), FOLD)
    dear = row(*[1.0] * 100, start_s=NOW_S, COST_KNOWN=100, COST_NANO_USD=100 * 10**9)
    cheap = row(*[1.0] * 20, start_s=NOW_S + 60, COST_KNOWN=20, COST_NANO_USD=2 * 10**9)
    book.learn(statistics({"a": [dear, cheap]}, log_time_s=NOW_S + 120))

    arm = book.evidence("code").of("a")

    assert arm is not None
    assert arm.recent_cost_usd.mean == pytest.approx(0.325, abs=0.002)
    assert arm.cost_usd.mean == pytest.approx(102 / 120, rel=1e-3)


@pytest.mark.parametrize(("mean", "each"), [(0.98, 1), (0.95, 1), (0.02, 1), (0.98, 10)])
def test_rare_failures_are_not_taken_for_a_change(mean: float, each: int) -> None:
    """One trace a minute of an arm that fails once in fifty times, looked at after every fifth: of 60 histories of 400 traces, 5 alarms would come up with probability 4e-4."""
    alarms = 0
    for seed in range(60):
        history = spans(random.Random(seed), (400 // each, mean), each=each)
        alarms += any(changed_since(history[:end]) is not None for end in range(10, len(history) + 1, max(5 // each, 1)))

    assert alarms < 5
