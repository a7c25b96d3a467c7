"""The gate for pairs: what capital a bet brings by hand, how often it errs at any look, and that it says what it stands on."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import GateError
from stream.learning.gate import PairedGate, Scores, ThresholdGate, judge, pairs_needed
from stream.learning.gate.betting import bets, capital, lower_bound

ROUND_ALPHA, ROUND_HORIZON = math.exp(-2), 64
"""With these the first bet is the root of 2 · 2 / 64 / (1/4), a half."""
DIFFERENCES = st.lists(st.floats(-1, 1), max_size=40)


def final(differences: list[float], alpha: float = ROUND_ALPHA, horizon: int = ROUND_HORIZON) -> float:
    """Capital after all differences, against a mean of 0."""
    return list(capital(differences, bets(differences, alpha=alpha, horizon=horizon), 0.0))[-1]


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1.0], 1.5),
        ([-1.0], 0.5),
        ([0.5], 1.25),
        # Nothing is won or lost on an equal pair; the variance is then 2/9, the bet the root of 1/16 · 9/2.
        ([0.0, 1.0], 1 + math.sqrt(9 / 32)),
        # The mean after a win counts as 1/9, so that the squares are 2 + (8/9)², the bet the root of 1/16 · 9 / that.
        ([1.0, -1.0], 1.5 * (1 - math.sqrt(9 / 16 / (2 + 64 / 81)))),
    ],
)
def test_capital_by_hand(differences: list[float], expected: float) -> None:
    """First bets by hand: capital starts at 1 and is multiplied by 1 + bet · difference."""
    assert final(differences) == pytest.approx(expected)


def test_steady_bet_on_binary_scores_is_mcnemars_likelihood_ratio() -> None:
    """A bet of b says that a discordant pair is won with chance (1 + b)/2: after 7 won, 3 lost and any ties the ratio of likelihoods to a fair coin's."""
    differences = [1.0] * 4 + [0.0] * 5 + [-1.0] * 3 + [1.0] * 3

    *_, held = capital(differences, [0.4] * len(differences), 0.0)

    assert held == pytest.approx(0.7**7 * 0.3**3 / 0.5**10)


def test_capital_against_a_true_null_is_one_on_average_and_seldom_great() -> None:
    """All 3^9 courses of nine pairs, won and lost with chance .3 each: the mean capital is 1, and 1/alpha is ever reached with chance alpha at most."""
    chances = {1.0: 0.3, 0.0: 0.4, -1.0: 0.3}
    mean = reached = 0.0
    for course in itertools.product(chances, repeat=9):
        chance = math.prod(chances[each] for each in course)
        held = list(capital(course, bets(course, alpha=0.3, horizon=9), 0.0))
        mean += chance * held[-1]
        reached += chance * (max(held) >= 1 / 0.3)

    assert mean == pytest.approx(1.0)
    assert 0.1 < reached <= 0.3


def test_bets_that_saw_the_result_would_break_that() -> None:
    """The broken twin: bets one place late, each knowing its own difference, bring more than 1 on average."""
    mean = 0.0
    for course in itertools.product([1.0, -1.0], repeat=6):
        knowing = [bet if difference > 0 else 0.0 for bet, difference in zip(bets(course, alpha=0.3, horizon=6), course, strict=True)]
        mean += list(capital(course, knowing, 0.0))[-1] / 2**6

    assert mean > 1.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.5), st.integers(1, 500))
def test_capital_over_all_exchanges_of_the_two_systems_is_one(sizes: list[float], alpha: float, horizon: int) -> None:
    """If the systems are the same, either of a pair's scores may be either one's: over all such exchanges the mean capital is 1, whatever the scores."""
    courses = [[size * sign for size, sign in zip(sizes, signs, strict=True)] for signs in itertools.product([1, -1], repeat=len(sizes))]

    mean = math.fsum(final(course, alpha, horizon) for course in courses) / len(courses)

    assert mean == pytest.approx(1.0)


def identical(rng: random.Random, pairs: int) -> tuple[list[float], list[float]]:
    """Scores of two systems that are right with chance .7, half of the samples by the same luck."""
    luck = [(rng.random() < 0.7, rng.random() < 0.7, rng.random() < 0.5) for _ in range(pairs)]
    return [float(one) for one, _, _ in luck], [float(one if same else other) for one, other, same in luck]


def test_identical_systems_are_hardly_ever_promoted_at_any_look() -> None:
    """400 candidates with 200 pairs at alpha .05: 20 at most are expected, and more than 36 would happen with p < 1e-3. Seeded."""
    rng, gate = random.Random(5), PairedGate(alpha=0.05, max_pairs=200)

    wrong = sum(gate.look(*identical(rng, 200)).is_promotion for _ in range(400))

    assert wrong <= 36


def test_the_same_check_finds_a_test_for_a_fixed_number_that_is_looked_at_always() -> None:
    """The broken twin: z above 1.645 after any of 200 pairs. 400 candidates would pass the check above with p < 1e-6."""
    rng, wrong = random.Random(5), 0
    for _ in range(400):
        differences = [after - before for before, after in zip(*identical(rng, 200), strict=True)]
        sums, discordant = itertools.accumulate(differences), itertools.accumulate(abs(each) for each in differences)
        wrong += any(total > 1.645 * math.sqrt(count) for total, count in zip(sums, discordant, strict=True))

    assert wrong > 36


def test_gain_is_found_by_the_planned_number_of_pairs() -> None:
    """Rates .6 and .8, independent: variance .4, planned for 80 %. 300 candidates: fewer than 207 promoted would happen with p < 1e-5. Seeded."""
    rng = random.Random(11)
    pairs = pairs_needed(variance=0.4, effect=0.2, alpha=0.025)
    gate = PairedGate(alpha=0.025, max_pairs=pairs)

    found = sum(gate.look([float(rng.random() < 0.6) for _ in range(pairs)], [float(rng.random() < 0.8) for _ in range(pairs)]).is_promotion for _ in range(300))

    assert 207 <= found <= 273


@given(DIFFERENCES, st.floats(0, 0.5))
def test_bound_and_verdict_agree(differences: list[float], least: float) -> None:
    """A candidate is promoted exactly where the lower bound has passed what it must exceed: a sentence with an interval around 0 would contradict itself."""
    judgement = PairedGate(alpha=0.3, max_pairs=60, min_improvement=least).weigh(differences)

    assert judgement.interval is not None
    if judgement.is_promotion:
        assert judgement.interval[0] >= least - 1e-8
    else:
        assert judgement.interval[0] <= least
    assert judgement.interval[0] <= judgement.interval[1]


@given(DIFFERENCES, DIFFERENCES)
def test_verdict_stands_whatever_comes_later(differences: list[float], later: list[float]) -> None:
    """Whoever goes on looking after a verdict must not see another one."""
    gate = PairedGate(alpha=0.3, max_pairs=60)

    judgement = gate.weigh(differences)

    assert judgement.verdict == "undecided" or gate.weigh(differences + later) == judgement


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=40))
def test_ending_early_promotes_nobody_and_costs_the_hopeless_only(differences: list[float]) -> None:
    """Ends before the last pair: by proof that it is not better, or when no win could be enough any more, as trying all wins shows."""
    gate = PairedGate(alpha=0.2, max_pairs=40)
    judgement = gate.weigh(differences)
    if judgement.verdict == "reject" and "Not proven" in judgement.reason:
        assert not gate.weigh([*differences[: judgement.n], *[1.0] * (40 - judgement.n)]).is_promotion
    held = list(capital(differences, bets(differences, alpha=0.2, horizon=40), 0.0))

    assert judgement.is_promotion <= (max(held, default=0.0) >= 5.0)


def test_interval_misses_the_true_difference_seldom() -> None:
    """Graded scores whose means differ by .1, 300 courses of 150 pairs, all looks together: 15 misses at most are expected, more than 29 with p < 1e-3."""
    rng, missed = random.Random(3), 0
    gate = PairedGate(alpha=0.025, max_pairs=150)
    for _ in range(300):
        interval = gate.weigh([rng.betavariate(3, 2) - rng.betavariate(5, 5) for _ in range(150)]).interval
        missed += interval is None or not interval[0] <= 0.1 <= interval[1]

    assert missed <= 29


def test_bound_rises_with_every_look_only() -> None:
    """All looks hold together, so that an earlier bound is never taken back: after twenty wins, losses leave it where it was."""
    wins, staked = [1.0] * 20, [0.5] * 40

    assert lower_bound(wins + [-1.0] * 20, staked, 0.05) == lower_bound(wins, staked[:20], 0.05)


def test_candidate_without_proof_is_rejected_at_the_end() -> None:
    """A candidate that waits for ever would block its cycle: at the stated number there is a verdict, and before it there was none."""
    course = [1.0, 0.0, -1.0, 0.0] * 30
    gate = PairedGate(alpha=0.025, max_pairs=100)

    assert gate.weigh(course[:50]).verdict == "undecided"
    assert gate.weigh(course).verdict == "reject"
    assert gate.weigh(course).n <= 100


def test_worse_candidate_is_given_up_early() -> None:
    """Scoring costs money: 30 losses in a row prove enough, long before 1,000 pairs."""
    judgement = PairedGate(alpha=0.025, max_pairs=1_000).look([1.0] * 200, [0.0] * 200)

    assert judgement.verdict == "reject"
    assert judgement.n < 60
    assert judgement.reason.startswith("Proven not better")


def test_reason_is_one_sentence_with_all_figures() -> None:
    """A person reads it months later: what was estimated, how surely, of how many, and what would have changed it."""
    judgement = PairedGate(alpha=0.025, max_pairs=400).weigh([1.0, 0.0, 0.0, 0.0] * 60)

    assert judgement.verdict == "promote"
    for part in (f"{100 * judgement.estimate:+.1f} points", f"over {judgement.n} of at most 400 pairs", "interval +", "where 40 promotes", "had it been below"):
        assert part in judgement.reason
    assert judgement.reason.endswith(".")
    assert ". " not in judgement.reason


def test_required_improvement_moves_what_is_doubted() -> None:
    """A true gain of 5 points is a gain, but not one of more than 10: 400 pairs with 20 wins net, and losses."""
    course = ([1.0] * 3 + [-1.0] + [0.0] * 36) * 40

    assert PairedGate(alpha=0.025, max_pairs=1_600).weigh(course).is_promotion
    assert not PairedGate(alpha=0.025, max_pairs=1_600, min_improvement=0.1).weigh(course).is_promotion


@pytest.mark.parametrize("scores", [([0.0], [0.0, 1.0]), ([0.0], [1.5]), ([-0.1], [1.0]), ([math.nan], [1.0])])
def test_scores_that_are_no_pairs_are_refused(scores: tuple[list[float], list[float]]) -> None:
    """A score outside of the range would let a bet lose more than there is, and the error is no longer what is stated."""
    with pytest.raises(GateError):
        PairedGate(alpha=0.05, max_pairs=10).look(*scores)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"max_pairs": 0}, {"min_improvement": -0.1}, {"alpha": math.nan}])
def test_gate_that_promises_nothing_is_refused(wrong: dict[str, float]) -> None:
    """An error of 0 or 1 is none."""
    with pytest.raises(GateError):
        PairedGate(**({"alpha": 0.05, "max_pairs": 10} | wrong))  # type: ignore[arg-type]


def test_evaluations_are_paired_by_id_and_judged_to_the_end() -> None:
    """Samples that only one of them has are left out, and the order of a mapping says nothing."""
    before = {f"q{number}": float(number % 2) for number in range(100)}
    after = {f"q{number}": 1.0 for number in reversed(range(20, 140))}

    judgement = judge(Scores(before), Scores(after), alpha=0.025, max_pairs=1_000)

    assert judgement.is_promotion
    assert "of at most 80 pairs" in judgement.reason
    assert judge(Scores(dict(reversed(before.items()))), Scores(after), alpha=0.025, max_pairs=1_000) == judgement
    assert judge(Scores(before), Scores(before), alpha=0.025, max_pairs=1_000).verdict == "reject"


def test_evaluations_of_two_kinds_are_refused() -> None:
    """One number against scores of samples is no comparison."""
    with pytest.raises(GateError, match="only the same kind"):
        judge(Scores(single=0.7), Scores({"a": 1.0}), alpha=0.05, max_pairs=10)
    with pytest.raises(GateError, match="none in common"):
        judge(Scores({"b": 1.0}), Scores({"a": 1.0}), alpha=0.05, max_pairs=10)


@pytest.mark.parametrize(("before", "after", "verdict"), [(0.70, 0.72, "promote"), (0.80, 0.82, "promote"), (0.70, 0.7199, "reject"), (0.5, 0.5, "reject"), (0.9, 0.1, "reject")])
def test_single_numbers_keep_the_threshold(before: float, after: float, verdict: str) -> None:
    """.72 - .70 exceeds .02 in floats, .82 - .80 does not, and both are the improvement that was asked for."""
    judgement = judge(Scores(single=before), Scores(single=after), alpha=0.05, max_pairs=10)

    assert judgement == ThresholdGate(min_improvement=0.02).look(before, after)
    assert judgement.verdict == verdict
    assert ("below threshold" in judgement.reason) == (verdict == "reject")
