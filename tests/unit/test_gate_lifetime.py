"""The account of all promotions: what each candidate may err with, kept through crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import GateError
from stream.learning.gate import Lifetime


def test_alphas_follow_places_and_promotions() -> None:
    """By hand: level .06, gamma 1/2, 1/6, 1/12, 1/20; after the second candidate's promotion everything that follows is doubled."""
    lifetime = Lifetime(0.06)

    first, second = lifetime.alpha("a"), lifetime.alpha("b")
    lifetime.record("a", promoted=False)
    lifetime.record("b", promoted=True)

    assert (first, second) == pytest.approx((0.03, 0.01))
    assert lifetime.alpha("c") == pytest.approx(0.06 / 12 * 2)
    assert lifetime.next_alpha() == pytest.approx(0.06 / 20 * 2)


def test_alpha_of_a_candidate_stays_whatever_comes_between() -> None:
    """A crash has a cycle ask again, after others were promoted: another error then would be a second chance."""
    lifetime = Lifetime()
    before = lifetime.alpha("a")
    lifetime.alpha("b")
    lifetime.record("b", promoted=True)

    assert lifetime.alpha("a") == before
    assert len(lifetime.places) == 2


def test_verdict_recorded_twice_counts_once_and_another_one_is_refused() -> None:
    """A crash between a verdict and what follows has it recorded again; two promotions of one candidate would earn twice."""
    lifetime = Lifetime()
    lifetime.alpha("a")
    lifetime.record("a", promoted=True)
    lifetime.record("a", promoted=True)

    assert lifetime.promotions == 1
    with pytest.raises(GateError, match="one verdict on each"):
        lifetime.record("a", promoted=False)
    with pytest.raises(GateError, match="ask for its `alpha`"):
        lifetime.record("b", promoted=True)


@given(st.lists(st.booleans(), max_size=30), st.floats(0.001, 0.999))
def test_account_survives_being_written_and_read(verdicts: list[bool], level: float) -> None:
    """It is kept between cycles as JSON: read back it must go on as if nothing had been."""
    kept, lifetime = Lifetime(level), Lifetime(level)
    for number, promoted in enumerate(verdicts):
        for each in (kept, lifetime):
            each.alpha(f"c{number}")
            each.record(f"c{number}", promoted=promoted)
        lifetime = Lifetime.decode(lifetime.encode())

    assert lifetime.places == kept.places
    assert lifetime.next_alpha() == kept.next_alpha()


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_errors_are_paid_for_by_promotions(verdicts: list[bool]) -> None:
    """What e-LOND's proof needs: the errors, each over the promotions there are once its own is one, sum to the level at most, whatever the verdicts."""
    lifetime, promotions, spent = Lifetime(0.05), 0, 0.0
    for number, promoted in enumerate(verdicts):
        spent += lifetime.alpha(str(number)) / (promotions + 1)
        lifetime.record(str(number), promoted=promoted)
        promotions += promoted

    assert spent <= 0.05


@pytest.mark.parametrize("text", ["", "{}", '{"level": 2, "places": {}}', '{"level": 0.05, "places": {"a": {"alpha": "x"}}}'])
def test_account_that_is_none_is_refused(text: str) -> None:
    """An account that was taken for an empty one would start the lifetime anew, with all its error to spend again."""
    with pytest.raises(GateError):
        Lifetime.decode(text)
