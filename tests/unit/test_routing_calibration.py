"""Calibration: what other sources' scores are worth, from traces that a person has rated too; by hand where a number stands."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.fold.totals import MICRO, Sum
from stream.records import PartitionStatistics
from stream.routing.book import Book
from stream.routing.calibration import AS_GIVEN, GRID, IDENTITY, Line, Moments, calibrate, fit
from stream.routing.settings import RoutingSettings
from tests.unit.routing_support import DAY_S, FOLD, NOW_S, by_class, desk, row, shares, statistics

JUDGE, OUTCOME = 1, 3
TODAY_S = NOW_S - DAY_S
Scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=200)


def moments(pairs: Sequence[tuple[float, float]]) -> Moments:
    """Of (a person's score, the source's)."""
    return Moments(
        len(pairs), sum(h for h, _ in pairs), sum(x for _, x in pairs), sum(h * x for h, x in pairs), sum(x * x for _, x in pairs)
    )


def pair_row(pairs: Sequence[tuple[float, float]], source: int = JUDGE, start_s: int = TODAY_S) -> tuple[int, ...]:
    """A day's pairs as a partition reports them."""
    both = [(round(h * MICRO), round(x * MICRO)) for h, x in pairs]
    return (start_s, source, len(both), sum(h for h, _ in both), sum(x for _, x in both), sum(h * x for h, x in both), sum(x * x for _, x in both))


def with_pairs(statistics: PartitionStatistics, *rows: tuple[int, ...]) -> PartitionStatistics:
    return PartitionStatistics(**{name: getattr(statistics, name) for name in statistics.__struct_fields__} | {"pairs": rows})


def unaged(width_s: int, start_s: int) -> float:
    return 1.0


def test_without_a_doubly_rated_trace_every_score_stays() -> None:
    """Calibration must never make things worse where it knows nothing."""
    assert fit(moments([])) == IDENTITY
    assert calibrate([], unaged) == AS_GIVEN
    assert calibrate([pair_row([(0.0, 1.0)] * 50)], lambda width_s, start_s: None) == AS_GIVEN


def test_line_is_shrunk_towards_identity() -> None:
    """A judge says 0 thirty times where people do, and 1 thirty times where they say .5.

    Means .5 and .25 over 60 traces: of the difference -.25 the part 60/(60 + 20) is believed, at the middle the line is .3125. Sums about
    the means: 15 for the judge, 7.5 for both; slope 1 + (7.5 - 15)/(15 + 20/12) = .55, level .3125 - .275 = .0375.
    """
    line = fit(moments([(0.0, 0.0)] * 30 + [(0.5, 1.0)] * 30))

    assert line.slope == pytest.approx(0.55, abs=1 / GRID)
    assert line.level == pytest.approx(0.0375, abs=1 / GRID)


def test_five_traces_move_little_and_many_are_followed() -> None:
    """A judge of 1 where people say 0: after 5 traces 20/25 of it stands, after 380 20/400."""
    few, many = (fit(moments([(0.0, 1.0)] * count)) for count in (5, 380))

    assert few.level + few.slope == pytest.approx(0.8, abs=1 / GRID)
    assert many.level + many.slope == pytest.approx(0.05, abs=1 / GRID)


def test_many_pairs_reveal_the_line_they_were_made_by() -> None:
    """People say .2 + .5 x of a judge's x: with 20,000 traces the prior of 20 is one part in a thousand."""
    line = fit(moments([(0.2 + 0.5 * x, x) for x in (at / 19_999 for at in range(20_000))]))

    assert line.slope == pytest.approx(0.5, abs=2 / GRID)
    assert line.level == pytest.approx(0.2, abs=2 / GRID)


def test_judge_that_contradicts_people_is_read_as_a_constant() -> None:
    """A falling line would make an arm worse by being praised: a slope is never below 0, and the mean is people's."""
    line = fit(moments([(1.0, 0.0), (0.0, 1.0)] * 5_000))

    assert line == Line(0.5, 0.0)


@given(Scores)
def test_calibrated_scores_are_scores_in_their_order(pairs: list[tuple[float, float]]) -> None:
    """Intervals stand on scores in [0, 1], and of two answers the one a judge prefers must not become the worse. Lines lie on a grid, so that they seldom move."""
    line = fit(moments(pairs))

    assert 0.0 <= line.slope <= 1.0
    assert line.slope * GRID % 1 == line.level * GRID % 1 == 0
    assert 0.0 <= line.level <= line.level + line.slope <= 1.0


@given(Scores)
def test_line_passes_between_the_means_of_both(pairs: list[tuple[float, float]]) -> None:
    """At the source's mean it says people's, as far as they are believed: n / (n + 20) of the way."""
    people, source = (sum(score for score in column) / max(len(pairs), 1) for column in zip(*pairs or [(0.0, 0.0)], strict=True))
    line, trust = fit(moments(pairs)), len(pairs) / (len(pairs) + 20)

    assert line.level + line.slope * source == pytest.approx(source + trust * (people - source), abs=1.01 / GRID)


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_sums_are_mapped_as_their_scores_would_be(scores: list[float], low: float, high: float) -> None:
    """The totals hold no single scores; a linear map needs none."""
    line = Line(min(low, high), abs(high - low))
    mapped = [line.level + line.slope * score for score in scores]

    found = line.of(len(scores), sum(scores), sum(score**2 for score in scores))

    assert found == pytest.approx((len(scores), sum(mapped), sum(score**2 for score in mapped)), abs=1e-9)


def test_partitions_report_in_any_order() -> None:
    """The same rows give the same scales to the last bit: whoever explains a route reads them in another order."""
    rng = random.Random(3)
    rows = [pair_row([(rng.random(), rng.random()) for _ in range(20)], rng.choice((1, 2, 3)), TODAY_S - back * DAY_S) for back in range(9) for _ in range(4)]
    shuffled = rng.sample(rows, len(rows))

    assert calibrate(rows, weight) == calibrate(shuffled, weight) != AS_GIVEN


def weight(width_s: int, start_s: int) -> float:
    return 2.0 ** -((NOW_S - start_s) / (7 * DAY_S))


def test_old_pairs_fade_with_their_traces() -> None:
    """40 traces at half their weight count as 20: the judge's 1, which people call 0, becomes 20/40 = .5 instead of 20/60."""
    rows = [pair_row([(0.0, 1.0)] * 40)]

    ((_, faded),) = [scale for scale in calibrate(rows, lambda width_s, start_s: 0.5) if scale[0] == Sum.JUDGE]
    assert faded.level + faded.slope == pytest.approx(0.5, abs=1 / GRID)


def test_flattering_judge_does_not_outrank_people() -> None:
    """Judged 1.0 two hundred times, a would win; people who looked at 380 such traces of other arms said 0, so that it is worth .05, and b with .6 leads."""
    judged = statistics({"a": [row(*[1.0] * 200, source=Sum.JUDGE)], "b": [row(*[1.0] * 120, *[0.0] * 80)]})
    believing, calibrated = desk(), desk()
    believing.learn(judged)
    calibrated.learn(with_pairs(judged, pair_row([(0.0, 1.0)] * 380)))

    before, after = (by_class(one.due(0.0))["code"] for one in (believing, calibrated))

    assert shares(before)["a"] > 0.9
    assert shares(after)["b"] > 0.9
    assert after.arms[0].mean == pytest.approx(0.05, abs=0.01)
    assert after.arms[1].mean == 0.6


def test_explanation_says_on_which_scale_a_source_is_read() -> None:
    """Somebody who sees a mean of .5 where every judge said 1 must be told why."""
    one = desk(half_life_s=1e12)
    one.learn(with_pairs(statistics({"a": [row(1.0, source=Sum.JUDGE)]}), pair_row([(0.0, 1.0)] * 20)))

    assert "A score s by judge is read as 0.000 + 0.500 s, as people's scores of the same traces suggest." in one.explain("code").text


def test_newest_total_of_a_partition_says_its_pairs() -> None:
    """Every class's total carries all pairs of its partition: they must not add up over classes, and an older one must not win."""
    book = Book(RoutingSettings(half_life_s=1e12), FOLD)
    rows = [pair_row([(0.0, 1.0)] * count) for count in (5, 20, 380)]
    for (query_class, offset), pairs in zip([("code", 1), ("math", 9), ("chat", 4)], rows, strict=True):
        book.learn(with_pairs(statistics({"a": [row(1.0, source=Sum.JUDGE)]}, query_class=query_class, offset=offset), pairs))

    assert book.evidence("code").arms[0].believed.mean == pytest.approx(0.5, abs=1 / GRID)


def test_tenants_that_are_apart_do_not_share_a_line() -> None:
    """Pairs are of all tenants of a partition: one tenant's ratings would change another's routes."""
    judged = with_pairs(statistics({"a": [row(1.0, source=Sum.JUDGE)]}), pair_row([(0.0, 1.0)] * 100))
    book = Book(RoutingSettings(tenants_apart=True), FOLD)
    book.learn(judged)

    assert book.evidence("code").arms[0].believed.mean == 1.0


def test_scores_become_graded_by_a_scale() -> None:
    """Successes and failures that are read as .9 and .1 are no coin any more: a policy for coins must not take them for one."""
    plain = statistics({"a": [row(1, 0, source=Sum.OUTCOME)]})
    book = Book(RoutingSettings(), FOLD)
    book.learn(with_pairs(plain, pair_row([(0.3, 1.0), (0.3, 0.0)] * 100, OUTCOME)))

    assert book.evidence("code").arms[0].graded
