"""Off-policy estimates: by hand on a few draws, by a slow obvious way on more, and against truths that are known."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.routing.off_policy import FOLDS, PRIOR_WEIGHT, Evaluation, effective_sample, evaluate
from stream.routing.off_policy_bounds import anytime_bounds, mean_interval, score_interval, skewed_interval, t_quantile
from stream.routing.off_policy_draws import Columns, LoggedDraw, only


def draw(arm: str, propensity: float, reward: float | None = None, *, among: tuple[str, ...] = ("a", "b"), query_class: str = "c", **known: float) -> LoggedDraw:
    return LoggedDraw(query_class=query_class, arm=arm, propensity=propensity, candidates=among, scores={} if reward is None else {"human": reward}, **known)


def reward_of(one: LoggedDraw) -> float:
    return one.scores["human"]


def judged(draws: Iterable[LoggedDraw], target: dict[str, float]) -> Evaluation:
    columns = Columns()
    for one in draws:
        columns.add(one, target)
    return evaluate(columns.draws(), columns.target())


# ---- estimates


def test_three_draws_by_hand() -> None:
    """Always a: weights 1/.5 = 2, 1/.25 = 4, 0. IPS (2·1 + 4·0)/3 = 2/3; self-normalised 2/6; effective 6²/(4 + 16) = 1.8."""
    found = judged([draw("a", 0.5, 1.0), draw("a", 0.25, 0.0), draw("b", 0.5, 1.0)], only("a"))

    assert found.reward.target["ips"].value == pytest.approx(2 / 3)
    assert found.reward.target["snips"].value == pytest.approx(1 / 3)
    assert found.effective == pytest.approx(1.8)
    assert found.mean_weight == pytest.approx(2.0)
    assert found.reward.logged is not None
    assert found.reward.logged.value == pytest.approx(2 / 3)


def test_a_reward_that_is_always_the_same_is_estimated_without_error() -> None:
    """Prediction and outcome agree in every draw: nothing is left to weigh."""
    found = judged([draw("ab"[number % 2], 0.3 + 0.4 * (number % 2), 0.7) for number in range(30)], {"a": 0.2, "b": 0.8})

    assert found.reward.target["doubly_robust"].value == pytest.approx(0.7)


def test_doubly_robust_is_the_slow_way() -> None:
    """Draw by draw and arm by arm: predictions from the draws of the other folds, drawn towards the arm's and the overall mean."""
    rng = random.Random(1)
    target = {"a": 0.1, "b": 0.6, "c": 0.3}
    log = [draw(arm, 0.25, round(rng.random(), 2), among=("a", "b", "c"), query_class=rng.choice("xy")) for arm in rng.choices("abc", k=40)]

    def predicted(place: int, arm: str) -> float:
        others = [one for other, one in enumerate(log) if other % FOLDS != place % FOLDS]
        overall = sum(reward_of(one) for one in others) / len(others)
        of_arm = [reward_of(one) for one in others if one.arm == arm]
        prior = (sum(of_arm) + PRIOR_WEIGHT * overall) / (len(of_arm) + PRIOR_WEIGHT)
        here = [reward_of(one) for one in others if one.arm == arm and one.query_class == log[place].query_class]
        return (sum(here) + PRIOR_WEIGHT * prior) / (len(here) + PRIOR_WEIGHT)

    terms = [
        sum(share * predicted(place, arm) for arm, share in target.items()) + target[one.arm] / one.propensity * (reward_of(one) - predicted(place, one.arm))
        for place, one in enumerate(log)
    ]

    assert judged(log, target).reward.target["doubly_robust"].value == pytest.approx(sum(terms) / len(terms))


def test_the_policy_that_drew_is_estimated_as_it_was() -> None:
    """Where the target is the log's own policy all weights are 1: plain means, and no difference at all in what it earned."""
    log = [draw("a", 0.5, 1.0, cost_usd=2.0), draw("b", 0.5, 0.0, cost_usd=4.0)] * 60
    found = judged(log, {"a": 0.5, "b": 0.5})

    assert found.effective == pytest.approx(120.0)
    assert found.reward.target["snips"].value == pytest.approx(0.5)
    assert found.cost_usd.target["ips"].value == pytest.approx(3.0)
    assert found.can_tell


def test_only_rated_draws_are_estimated_and_their_share_is_said() -> None:
    """A request that nobody rated is not a failure; of three a's one is rated, and b's count for nothing here: a third."""
    log = [draw("a", 0.5, 1.0), draw("a", 0.5), draw("a", 0.5), draw("b", 0.5, 0.0)]
    found = judged(log, only("a"))

    assert found.reward.target["snips"].value == pytest.approx(1.0)
    assert found.reward.known_share == pytest.approx(1 / 3)
    assert (found.draws, found.reward.draws) == (4, 2)


def test_unrated_draws_could_all_be_failures_or_successes() -> None:
    """A half of the target's requests is rated, all good: at worst .5 of all are, at best 1."""
    found = judged([draw("a", 1.0, 1.0), draw("a", 1.0)] * 20, only("a"))

    assert found.reward.worst_case == pytest.approx((0.5, 1.0))


def test_nothing_known_is_said_as_nothing() -> None:
    """An empty log, and a log without a single rating, give no number and no exception."""
    for log in ([], [draw("a", 0.5)] * 3, [draw("b", 0.5, 1.0)] * 3):
        found = judged(log, only("a"))

        assert found.reward.best is None
        assert not found.can_tell


def test_other_sources_are_read_on_peoples_scale() -> None:
    """A judge that says 1 where people say .5, twenty times: half of the difference is believed, so that its 1 alone counts .75."""
    columns = Columns(calibrates=True)
    for scores in [{"human": 0.5, "judge": 1.0}] * 20 + [{"judge": 1.0}]:
        columns.add(LoggedDraw("c", "a", 1.0, scores=scores), only("a"))

    assert columns.draws().reward[-2:] == pytest.approx([0.5, 0.75])


# ---- when the logs cannot tell


def test_a_small_effective_sample_cannot_tell() -> None:
    """150 draws, of which the target would have made 15: far fewer than a hundred."""
    log = [draw("a" if number % 10 == 0 else "b", 0.1 if number % 10 == 0 else 0.9, 1.0) for number in range(150)]
    found = judged(log, only("a"))

    assert found.effective == pytest.approx(15.0)
    assert "worth 15 of the target's own, but it takes 100" in found.doubts[0]


def test_mass_where_the_log_never_draws_is_said() -> None:
    """Half of the target's draws fall on an arm that was no candidate: the log says nothing of them."""
    found = judged([draw("a", 0.5, 1.0), draw("b", 0.5, 0.0)] * 200, {"a": 0.25, "b": 0.25, "new": 0.5})

    assert found.unsupported == pytest.approx(0.5)
    assert any("50% of the target's draws fall on arms that the log could not have drawn" in doubt for doubt in found.doubts)
    assert found.reward.target["snips"].value == pytest.approx(0.5)


def test_requests_without_the_arm_are_left_out_of_its_estimate() -> None:
    """In a third of the requests a was no candidate: it is judged by the others, and the third is said."""
    log = [draw("a", 0.5, 1.0), draw("b", 0.5, 0.0), draw("b", 1.0, 0.0, among=("b",))] * 100
    found = judged(log, only("a"))

    assert found.draws == 200
    assert found.unsupported == pytest.approx(1 / 3)


def test_an_arm_that_nobody_has_heard_of_has_no_support() -> None:
    """Whoever misspells an arm reads that the log does not know it."""
    assert judged([draw("a", 0.5, 1.0)] * 10, only("nobody")).unsupported == 1.0


def test_propensities_that_cannot_be_right_are_noticed() -> None:
    """A sender that writes .5 where it drew a nine times of ten: weights average 1.8 instead of 1."""
    rng = random.Random(4)
    log = [draw("a" if rng.random() < 0.9 else "b", 0.5, 1.0) for _ in range(1_000)]

    found = judged(log, only("a"))

    assert found.mean_weight == pytest.approx(1.8, abs=0.06)
    assert any("propensities are right" in doubt for doubt in found.doubts)


# ---- intervals


@pytest.mark.parametrize(("freedom", "quantile"), [(5, 2.571), (10, 2.228), (30, 2.042), (100, 1.984)])
def test_quantiles_of_student_are_those_of_the_tables(freedom: float, quantile: float) -> None:
    """Two-sided 95 %, as every table prints them."""
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, abs=4e-3)


def test_score_interval_is_wilsons_for_plain_binary_draws() -> None:
    """81 of 90: (p + z²/2n ± z√(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.96 is [.8208, .9465]; E. B. Wilson, 1927."""
    found = score_interval(0.9, 0.9 * 0.1 / 90, effective=90.0, freedom=1e9, alpha=0.05)

    assert found == pytest.approx((0.8208, 0.9465), abs=2e-4)


def test_all_successes_are_no_certainty() -> None:
    """A variance of 0 would make an interval of no width; ten successes leave 1 / (1 + z²/10) = .7225 possible."""
    assert score_interval(1.0, 0.0, effective=10.0, freedom=1e9, alpha=0.05) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_mean_interval_is_students() -> None:
    """Standard error .2 with 10 degrees: 1 ± 2.228 · .2."""
    assert mean_interval(1.0, 0.04, freedom=10.0, alpha=0.05) == pytest.approx((0.5544, 1.4456), abs=1e-3)


def world(rng: random.Random, count: int) -> list[LoggedDraw]:
    """Two classes, three arms with means that differ by class, drawn 70/20/10 or 10/20/70."""
    means, shares = {"x": (0.9, 0.8, 0.5), "y": (0.2, 0.6, 0.95)}, {"x": (0.7, 0.2, 0.1), "y": (0.1, 0.2, 0.7)}
    log = []
    for _ in range(count):
        name = rng.choice("xy")
        arm = rng.choices(range(3), shares[name])[0]
        log.append(draw("abc"[arm], shares[name][arm], float(rng.random() < means[name][arm]), among=("a", "b", "c"), query_class=name))
    return log


def test_intervals_hold_the_truth_nineteen_times_of_twenty() -> None:
    """200 logs of 700 draws, always b: .5 · .8 + .5 · .6 = .7. Fewer than 92 % or more than 98.5 % would happen with p < .04 and .02; it is seeded."""
    rng = random.Random(2)
    found = [judged(world(rng, 700), only("b")).reward for _ in range(200)]

    for method in ("doubly_robust", "snips"):
        held = sum(one.target[method].interval[0] <= 0.7 <= one.target[method].interval[1] for one in found) / len(found)
        assert 0.92 <= held <= 0.985
    assert all(one.anytime is not None and one.anytime[0] <= 0.7 <= one.anytime[1] for one in found)


def test_anytime_bounds_hold_though_the_log_adapts_and_is_looked_at_always() -> None:
    """Greedy draws with a tenth of exploration, always the other arm (.4): looked at after each of 500 draws, in 200 logs.

    At 5 % more than 20 misses would happen with probability below 1e-3; it is seeded.
    """
    rng, misses = random.Random(6), 0
    for _ in range(200):
        totals, counts, weights, scores = [0.5, 0.5], [1.0, 1.0], [], []
        for _ in range(500):
            ahead = int(totals[1] / counts[1] > totals[0] / counts[0])
            shares = [0.05, 0.05]
            shares[ahead] = 0.95
            arm = int(rng.random() < shares[1])
            score = float(rng.random() < (0.6, 0.4)[arm])
            totals[arm] += score
            counts[arm] += 1
            weights.append(arm / shares[arm])
            scores.append(score)
        low, high = anytime_bounds(np.array(weights), np.array(scores), alpha=0.05)
        misses += not bool(np.all((low <= 0.4) & (high >= 0.4)))

    assert misses <= 20


def test_anytime_bounds_close_in() -> None:
    """A bound that stayed at [0, 1] would always hold and say nothing: of 5,000 draws, half of them the target's, .08 is left."""
    rng = np.random.default_rng(3)
    low, high = anytime_bounds(2.0 * (rng.random(5_000) < 0.5), (rng.random(5_000) < 0.7).astype(float), alpha=0.05)

    assert 0.6 < low[-1] < 0.7 < high[-1] < 0.8


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.01, 1.0), st.none() | st.floats(0, 1), st.none() | st.floats(0, 1e6)), max_size=60),
    st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3),
)
def test_whatever_was_logged_gives_numbers_within_bounds(log: list[tuple[str, float, float | None, float | None]], raw: list[float]) -> None:
    """Logs are anyone's: no combination may raise, or give a reward outside of [0, 1], or an interval without its estimate."""
    target = {arm: share / math.fsum(raw) for arm, share in zip("abc", raw, strict=True)}
    found = judged([LoggedDraw("c", arm, propensity, ("a", "b", "c"), {} if reward is None else {"judge": reward}, cost) for arm, propensity, reward, cost in log], target)

    for estimate in found.reward.target.values():
        assert 0.0 <= estimate.interval[0] <= estimate.value <= estimate.interval[1] <= 1.0
    for estimate in found.cost_usd.target.values():
        assert estimate.interval[0] <= estimate.value <= estimate.interval[1]
    assert 0.0 <= found.effective <= len(log) + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=50), st.floats(0.1, 10.0))
def test_effective_sample_does_not_depend_on_the_scale_of_weights(weights: list[float], scale: float) -> None:
    """Kish's number is between 0 and the count, and the same in any unit."""
    found = effective_sample(np.array(weights))

    assert -1e-9 <= found <= len(weights) + 1e-9
    assert effective_sample(np.array(weights) * scale) == pytest.approx(found)


# ---- what is known of some arms more often than of others


def rated_by_arm(rng: random.Random, rates: dict[str, float], draws: int) -> list[LoggedDraw]:
    """Uniform draws of two arms that both earn 1 half of the time; how often each is rated has nothing to do with what it earned."""
    arms = [rng.choice("ab") for _ in range(draws)]
    return [draw(arm, 0.5, float(rng.random() < 0.5) if rng.random() < rates[arm] else None) for arm in arms]


@pytest.mark.parametrize("rates", [{"a": 0.6, "b": 0.3}, {"a": 0.3, "b": 0.6}, {"a": 0.2, "b": 0.9}])
def test_arms_that_are_rated_unequally_often_are_estimated_all_the_same(rates: dict[str, float]) -> None:
    """The truth is .5 whatever is rated. Of 60 intervals at 95 %, 9 or more miss it with probability .003; those that hold at any time hold."""
    misses = dict.fromkeys(("ips", "snips", "doubly_robust", "anytime"), 0)
    for seed in range(60):
        reward = judged(rated_by_arm(random.Random(seed), rates, 1_500), only("a")).reward
        intervals = {name: estimate.interval for name, estimate in reward.target.items()} | {"anytime": reward.anytime or (1.0, 0.0)}
        for name, (low, high) in intervals.items():
            misses[name] += not low <= 0.5 <= high

    assert max(misses.values()) <= 8
    assert misses["anytime"] == 0


def test_cost_that_one_arm_never_tells_is_not_free() -> None:
    """`b` costs nobody knows what: what was spent by those who drew it cannot be told, so neither can what always `a` would save."""
    log = [draw("ab"[number % 2], 0.5, 1.0, **({"cost_usd": 0.01} if number % 2 == 0 else {})) for number in range(600)]
    cost = judged(log, only("a")).cost_usd

    assert any("log's draws are of arms of which it is never known" in doubt for doubt in cost.doubts)
    assert judged([draw("a", 0.5, 1.0, cost_usd=0.01), draw("b", 0.5, 1.0, cost_usd=0.03)] * 300, only("a")).cost_usd.doubts == ()


def test_cost_that_few_draws_tell_is_doubted() -> None:
    """Six of three thousand: whatever their mean is, it says little of the others."""
    log = [draw("ab"[number % 2], 0.5, 1.0, **({"cost_usd": 0.01} if number % 500 < 2 else {})) for number in range(3_000)]
    cost = judged(log, only("a")).cost_usd

    assert any("are worth" in doubt for doubt in cost.doubts)
    assert judged(log, only("a")).reward.doubts == ()


def test_policy_that_is_no_better_is_seldom_proven_better_though_few_draws_of_it_weigh_much() -> None:
    """Arms drawn at .9, .05 and .05 and all as good, a target that wants the second: of 1,500 logs of 2,600 draws, at an error of .2 %, 9 or more pass with probability .004.

    By Student's interval, which knows nothing of skewness, 6 or 7 would be expected, and at .02 % three times too many.
    """
    rng, shares, target, passed = np.random.default_rng(1), np.array([0.9, 0.05, 0.05]), np.array([0.1, 0.8, 0.1]), 0
    for _ in range(1_500):
        arm = rng.choice(3, size=2_600, p=shares)
        terms = 0.8 + (target / shares)[arm] * ((rng.random(2_600) < 0.8) - 0.8) - 0.8
        mean, squares = float(terms.mean()), float(terms.var())
        skewness = float(((terms - mean) ** 3).mean()) / (squares**1.5 * 2_600**0.5)
        passed += skewed_interval(mean, squares / 2_599, skewness=skewness, freedom=90.0, alpha=0.004)[0] > 0

    assert passed <= 8
