"""Arms judged at one age: scores of traces that are too young count for none of them."""

from __future__ import annotations

import pytest

from stream.fold.totals import Sum
from stream.routing.weighing import Ages, weigh
from tests.unit.routing_support import DAY_S, NOW_S, by_class, desk, row, statistics

HALF_LIFE_S = 1e12
"""So long that every trace weighs 1."""


def ages(delay_s: float) -> Ages:
    return Ages(log_time_ms=NOW_S * 1000, half_life_s=HALF_LIFE_S, keep_s=32 * DAY_S, rating_delay_s=delay_s, merged_s=(29 * 60, 23 * 3600))


@pytest.mark.parametrize(
    ("width_s", "age_s", "delay_s", "counts"),
    [
        pytest.param(60, 60 + 60 + 600, 600.0, True, id="its youngest trace is 600 s old, counted from the last whole minute"),
        pytest.param(60, 60 + 600, 600.0, False, id="its youngest trace may be a minute younger"),
        pytest.param(60, 0, 0.0, True, id="no delay"),
        pytest.param(3_600, 1_800, 600.0, True, id="an hour that is not over holds only minutes older than 29"),
        pytest.param(3_600, 1_800, 1_800.0, False, id="but it may hold one of 29"),
        pytest.param(3_600, 3_600 + 60 + 1_800, 1_800.0, True, id="an hour that has been over for half an hour"),
        pytest.param(86_400, 43_200, 80_000.0, True, id="a day that is not over holds only hours older than 23"),
    ],
)
def test_bucket_counts_once_its_youngest_trace_is_old_enough(width_s: int, age_s: int, delay_s: float, counts: bool) -> None:
    """By its end, or by how old a minute is at least when it is merged into an hour, and an hour into a day; age is that of its start."""
    weight = ages(delay_s).score_weight(width_s, NOW_S - age_s)

    assert (weight is not None) == counts


def test_young_scores_are_left_out_and_all_else_is_shown() -> None:
    """Two old traces with scores of 1, one young one with 0: the mean is that of the old, cost and count are of all three."""
    old, young = row(1.0, 1.0, start_s=NOW_S - 3_000), row(0.0, start_s=NOW_S - 120, COST_KNOWN=1, COST_NANO_USD=5 * 10**9)
    buckets = {found[:3]: found[3:] for found in (old, young)}

    weighed = weigh(None, buckets, ages(600.0))  # type: ignore[arg-type]

    assert weighed is not None
    assert weighed.scores == pytest.approx((2.0, 2.0, 2.0))
    assert (weighed.traces, sum(weighed.by_source), weighed.cost_usd.mean) == (3, 2, pytest.approx(5.0))


def test_early_thumbs_down_do_not_decide() -> None:
    """Both arms end at .8, but thumbs-down come within a minute and thumbs-up take ten. A new arm is judged on thumbs-down alone, unless all wait as long."""
    known, early = [row(*[1.0] * 80, *[0.0] * 20, start_s=NOW_S - 7_200)], [row(*[0.0] * 20, start_s=NOW_S - 300, COUNT=100)]
    means = {}

    for delay_s in (0.0, 900.0):
        routing = desk(rating_delay_s=delay_s)
        routing.learn(statistics({"known": known, "new": early}))
        update = by_class(routing.due(0.0))["code"]
        means[delay_s] = {arm.id: (arm.mean, arm.count) for arm in update.arms}

    assert means == {0.0: {"known": (0.8, 100), "new": (0.0, 100)}, 900.0: {"known": (0.8, 100), "new": (None, 100)}}
    assert "Scores of traces younger than 900 s count for no arm yet" in routing.explain("code").text


def test_silence_that_counts_as_a_failure_waits_for_its_age_as_any_score() -> None:
    """A decision that failed by silence stands in its own minute's bucket, as an outcome."""
    failed = {found[:3]: found[3:] for found in [row(0.0, start_s=NOW_S - 120, source=Sum.OUTCOME)]}

    assert [weigh(None, failed, ages(delay_s)).scores.weight for delay_s in (0.0, 600.0)] == [pytest.approx(1.0), 0.0]  # type: ignore[arg-type, union-attr]
