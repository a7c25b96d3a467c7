"""Evidence: merging partitions, projecting arms, ageing, and keeping what was drawn apart from what was not."""

from __future__ import annotations

import pytest

from stream.fold.totals import MICRO, Sum
from stream.records import ANY_CLASS, OVERFLOW, Arm, PartitionStatistics
from stream.routing.book import Book
from stream.routing.evidence import ArmEvidence, Tally
from stream.routing.settings import RoutingSettings
from tests.unit.routing_support import DAY_S, FOLD, NOW_S, row, scored, statistics

WEEK = RoutingSettings(half_life_s=7.0 * DAY_S)


def arm_of(settings: RoutingSettings, *learned: PartitionStatistics, arm: str = "a", query_class: str = "code") -> ArmEvidence:
    book = Book(settings, FOLD)
    for one in learned:
        book.learn(one)
    found = book.evidence(query_class).of(arm)
    assert found is not None
    return found


def test_evidence_adds_partitions() -> None:
    """Traces of a class lie in all partitions by their trace id: 3 of 4 and 1 of 2 make 4 of 6."""
    found = arm_of(WEEK, statistics({"a": scored(3, 1)}), statistics({"a": scored(1, 1)}, partition=1))

    assert found.count == found.rated_count == 6
    assert found.drawn.mean == pytest.approx(4 / 6)


def test_evidence_takes_the_highest_offset_of_a_partition() -> None:
    """A running total is never a delta: two owners of a partition, or a replay, must not count twice."""
    newer, older = statistics({"a": scored(5, 0)}, offset=9), statistics({"a": scored(2, 0)}, offset=8)

    assert arm_of(WEEK, newer, older).count == arm_of(WEEK, older, newer).count == 5


def test_evidence_ignores_another_fold() -> None:
    """While a rebuild runs, two folds publish; adding them would count every trace twice."""
    assert arm_of(WEEK, statistics({"a": scored(1, 0)}), statistics({"a": scored(4, 0)}, fold="other", partition=1)).count == 1


def test_evidence_merges_over_fields_that_are_not_routed() -> None:
    """Totals are kept for the finest arms; routing over models adds their agents up."""
    learned = statistics({"a|react": scored(1, 1), "a|plan": scored(2, 0)})

    assert arm_of(WEEK, learned).count == 4
    both = RoutingSettings(arm_fields=("model", "agent"))
    assert arm_of(both, learned, arm="a|plan").count == 2


def test_evidence_leaves_out_what_cannot_be_served() -> None:
    """The overflow entry stands for many arms, and a trace without a model for none that could be chosen."""
    book = Book(WEEK, FOLD)
    book.learn(statistics({OVERFLOW: scored(9, 0), "|react": scored(9, 0), "a": scored(1, 0)}))

    assert [arm.id for arm in book.evidence("code").arms] == ["a"]


def test_a_trace_of_one_half_life_ago_counts_half() -> None:
    """A day's bucket whose middle lies exactly 7 days back, at a half-life of 7 days: weight 1/2 each."""
    middle_s = NOW_S - 7 * DAY_S
    found = arm_of(WEEK, statistics({"a": [row(1, 1, 0, 0, width_s=DAY_S, start_s=middle_s - DAY_S // 2)]}))

    assert found.drawn == pytest.approx(Tally(2.0, 1.0, 1.0))
    assert found.count == 4


def test_a_bucket_whose_middle_lies_ahead_weighs_no_more_than_one() -> None:
    """Early in a day its bucket's middle has not come; a weight above 1 would make evidence out of nothing."""
    found = arm_of(WEEK, statistics({"a": [row(1, width_s=DAY_S, start_s=NOW_S - 60)]}))

    assert found.drawn.weight == 1.0


def test_a_bucket_beyond_the_kept_days_is_retired() -> None:
    """An idle partition publishes nothing, so that its old buckets must end here: against the log time of the others."""
    book = Book(WEEK, FOLD)
    book.learn(statistics({"a": scored(1, 0)}, log_time_s=NOW_S))
    book.learn(statistics({"b": [row(1)]}, query_class="other", partition=1, log_time_s=NOW_S + 32 * DAY_S))

    assert book.evidence("code").arms == ()


def test_scores_of_every_source_count_alike_and_are_told_apart() -> None:
    """A trace stands under its best source only, so that sources add up: (0.5 + 1) / 2."""
    found = arm_of(WEEK, statistics({"a": [row(0.5, source=Sum.HUMAN), row(1, source=Sum.OUTCOME)]}))

    assert found.drawn.mean == pytest.approx(0.75)
    assert found.by_source == (1, 0, 0, 1, 0)


def test_worst_case_is_bounded_by_what_unrated_traces_might_have_been() -> None:
    """Ten traces, three of them scored 1, 1 and .5: had the seven failed, 2.5 / 10, had they succeeded, 9.5 / 10. Their age does not matter."""
    found = arm_of(WEEK, statistics({"a": [row(1, 1, 0.5, width_s=DAY_S, start_s=NOW_S - 9 * DAY_S, COUNT=10)]}))

    assert found.rated_share == pytest.approx(0.3)
    assert found.worst_case == pytest.approx((0.25, 0.95))


def test_worst_case_is_the_mean_where_all_is_rated_and_anything_where_nothing_is() -> None:
    """Of two rated 1 and 0 the bounds meet at .5; of four unrated ones nothing is known, and of no traces not even that."""
    book = Book(RoutingSettings(declared=(Arm(model="c"),)), FOLD)
    book.learn(statistics({"a": [row(1, 0)], "b": [row(COUNT=4)]}))

    found = {arm.id: (arm.rated_share, arm.worst_case) for arm in book.evidence("code").arms}

    assert found == {"a": (1.0, (0.5, 0.5)), "b": (0.0, (0.0, 1.0)), "c": (None, None)}


def test_reward_other_than_quality_counts_alone() -> None:
    """A trace that people scored 1 and the reward .25 is worth .25: two scales that are added up would be none."""
    settings = RoutingSettings(reward="seed")
    rewarded = (*row(1.0), 1, MICRO // 4, (MICRO // 4) ** 2)

    found = arm_of(settings, statistics({"a": [rewarded]}))

    assert found.believed.mean == 0.25
    assert found.by_source == (0, 0, 0, 0, 1)
    assert found.worst_case == (0.25, 0.25)


@pytest.mark.parametrize(("scores", "graded"), [((0.0, 1.0, 1.0), False), ((0.0, 1.0, 0.999999), True)])
def test_one_graded_score_is_noticed(scores: tuple[float, ...], graded: bool) -> None:
    """The sums are exact integers: x² differs from x for any score between 0 and 1."""
    assert arm_of(WEEK, statistics({"a": [row(*scores)]})).graded is graded


def test_cost_that_is_not_known_is_never_free() -> None:
    """Two of three traces cost $3 together: $1.50 each; the third says nothing. An arm without any has none."""
    priced = arm_of(WEEK, statistics({"a": [row(1, 1, 1, COST_KNOWN=2, COST_NANO_USD=3_000_000_000)]}))

    assert priced.cost_usd.mean == pytest.approx(1.5)
    assert priced.latency_s.mean is None


def test_traces_that_no_router_drew_weigh_no_more_than_their_cap() -> None:
    """A thousand undrawn traces at .9 are twenty; with 20 draws at .5: (18 + 10) / 40 = .7."""
    found = arm_of(WEEK, statistics({"a": [*scored(900, 100, drawn=0), *scored(10, 10)]}))

    assert found.drawn.weight == pytest.approx(20.0, rel=1e-4)
    assert found.believed.weight == pytest.approx(40.0, rel=1e-4)
    assert found.believed.mean == pytest.approx(0.7, rel=1e-4)


def test_other_classes_are_a_capped_prior_without_the_class_itself() -> None:
    """Ten successes elsewhere weigh four traces, as successes: nothing differs from their arm's mean. The class they are of has no other to learn from."""
    book = Book(RoutingSettings(pooled_cap=4.0, declared=(Arm(model="a"),)), FOLD)
    book.learn(statistics({"a": scored(10, 0)}, query_class="math"))

    pooled = book.evidence(ANY_CLASS).of("a")
    elsewhere, own = book.evidence("code").arms[0].prior, book.evidence("math").arms[0].prior

    assert pooled is not None
    assert pooled.count == 10
    assert elsewhere == pytest.approx(Tally(4.0, 4.0, 4.0))
    assert own == Tally()


def test_declared_arms_are_there_without_any_trace() -> None:
    """What `eddy.toml` declares can be drawn from the first request on."""
    settings = RoutingSettings(declared=(Arm(model="b"),), default_arm=Arm(model="a"))

    assert [arm.id for arm in Book(settings, FOLD).evidence("code").arms] == ["a", "b"]
