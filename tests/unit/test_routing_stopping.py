"""The stopping rule: what draws are worth against each other, and that looking often does no harm."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from benchmarks.false_winner import aa_false_winner
from stream.records import Arm
from stream.routing.confidence import interval, judge
from stream.routing.evidence import ArmEvidence, ClassEvidence, Tally
from stream.routing.stopping import lead, log_odds


def arm(name: str, successes: float, failures: float) -> ArmEvidence:
    return ArmEvidence(arm=Arm(model=name), id=name, drawn=Tally(successes + failures, successes, successes))


def evidence(*arms: ArmEvidence) -> ClassEvidence:
    return ClassEvidence(query_class="c", arms=arms)


def scores(count: float, mean: float) -> Tally:
    return Tally(count, count * mean, count * mean)


def test_two_successes_against_two_failures_are_worth_nine_to_four() -> None:
    """Mixture of two successes: (½ · 1½) / (1 · 2) = 3/8, of two failures as much; equal means make at most (½)⁴: 9/64 · 16 = 9/4."""
    assert math.exp(log_odds(scores(2.0, 1.0), scores(2.0, 0.0))) == pytest.approx(9 / 4)


def test_odds_are_the_least_over_all_pairs_of_means() -> None:
    """The slow way: the likelihood of every pair on a grid with the leader's mean not above the rival's."""
    leader, rival = scores(30.0, 0.8), scores(20.0, 0.4)

    def log_likelihood(tally: Tally, mean: float) -> float:
        return tally.total * math.log(mean) + (tally.weight - tally.total) * math.log(1 - mean)

    def log_mixture(tally: Tally) -> float:  # by the midpoint rule over p = sin²(t), under which the Beta(½, ½) prior is uniform
        angles = [(place + 0.5) * math.pi / 2 / 20_000 for place in range(20_000)]
        return math.log(sum(math.exp(log_likelihood(tally, math.sin(angle) ** 2)) for angle in angles) / 20_000)

    grid = [place / 400 for place in range(1, 400)]
    greatest = max(log_likelihood(leader, p) + log_likelihood(rival, q) for p in grid for q in grid if p <= q)

    assert log_odds(leader, rival) == pytest.approx(log_mixture(leader) + log_mixture(rival) - greatest, abs=1e-3)


def test_draws_speak_for_one_arm_only() -> None:
    """What speaks for the leader must not speak for its rival as well."""
    assert log_odds(scores(100.0, 0.9), scores(100.0, 0.5)) > 0 > log_odds(scores(100.0, 0.5), scores(100.0, 0.9))
    assert log_odds(scores(100.0, 0.5), scores(100.0, 0.5)) < 0


@pytest.mark.parametrize(("leader", "rival"), [(scores(1e7, 1.0), scores(1e7, 0.0)), (scores(1e-9, 1.0), scores(1e-9, 0.0)), (scores(0.0, 0.0), scores(1e7, 0.5))])
def test_odds_stay_numbers_however_extreme(leader: Tally, rival: Tally) -> None:
    """Decay makes weights of any size."""
    assert math.isfinite(log_odds(leader, rival))


def test_pairs_take_fewer_draws_than_separate_intervals() -> None:
    """What the rule is for: of .7 against .5 among three arms it knows with less than three quarters of the draws."""

    def by_intervals(count: float) -> bool:
        return interval(count, 0.7 * count, 0.05 / 3)[0] > interval(count, 0.5 * count, 0.05 / 3)[1]

    def by_pairs(count: float) -> bool:
        found = lead(evidence(arm("a", 0.7 * count, 0.3 * count), arm("b", 0.5 * count, 0.5 * count), arm("c", 0.5 * count, 0.5 * count)), 0.05)
        return found is not None and found.is_proven

    wanted = [next(count for count in range(10, 5_000, 10) if rule(float(count))) for rule in (by_pairs, by_intervals)]

    assert wanted[0] < 0.75 * wanted[1]


def test_every_other_arm_must_be_beaten() -> None:
    """One rival that is close forbids a winner, whatever the others are; the verdict says which and by how much."""
    found = lead(evidence(arm("a", 900, 100), arm("b", 895, 105), arm("c", 100, 900)), 0.05)

    assert found is not None
    assert (found.leader, found.rival, found.needed, found.is_proven) == ("a", "b", 60.0, False)


def test_more_arms_ask_for_more_proof() -> None:
    """Ten arms have ten chances to win by luck: ten times the odds are needed that one would take."""
    few, many = (lead(evidence(*(arm(f"m{number}", 30 + number, 20) for number in range(count))), 0.05) for count in (2, 10))

    assert few is not None
    assert many is not None
    assert (few.needed, many.needed) == (40.0, 200.0)


def test_verdict_says_by_how_much() -> None:
    """Whoever waits for a best arm reads how far off it is."""
    early = judge(evidence(arm("a", 8, 2), arm("b", 4, 6)), 0.05)
    late = judge(evidence(arm("a", 180, 20), arm("b", 20, 180)), 0.05)

    assert "a leads, but its draws speak" in early.reason
    assert "where it takes 40 to 1" in early.reason
    assert "a is proven best" in late.reason


def test_an_arm_without_draws_is_no_proof_for_anyone() -> None:
    """Its mean may be 1; and nothing at all was drawn in a class that begins."""
    assert judge(evidence(arm("a", 1000, 0), arm("new", 0, 0)), 0.05).best_arm is None
    assert lead(evidence(arm("a", 0, 0), arm("b", 0, 0)), 0.05) is None


def test_a_worse_arm_is_hardly_ever_named_though_it_is_looked_at_always() -> None:
    """200 histories of two arms, .5 and .52, drawn by who leads: the worse one may win in 5 % of them; above 20 happens with p < 1e-3. Seeded."""
    rng, wrong = random.Random(8), 0
    for _ in range(200):
        tallies = {"good": Tally(), "bad": Tally()}
        for _ in range(300):
            ahead = max(tallies, key=lambda name: tallies[name].mean or 0.5)
            name = ahead if rng.random() < 0.8 else rng.choice(["good", "bad"])
            score = float(rng.random() < (0.52 if name == "good" else 0.5))
            tallies[name] = tallies[name].plus(Tally(1.0, score, score))
            if log_odds(tallies["bad"], tallies["good"]) >= math.log(40):
                wrong += 1
                break

    assert wrong <= 20


def test_equal_arms_get_no_winner_from_the_real_policies() -> None:
    """The benchmark's own A/A replays, a few of them: at 5 % more than 7 of 36 would happen with p < 1e-3."""
    assert aa_false_winner(36, most=120) <= 7 / 36


def test_evidence_that_begins_where_an_arm_changed_is_charged_for_the_choice() -> None:
    """After 99 traces there were a hundred places at which it could have begun: the odds are 100 · 101 times less."""
    first, second = Tally(60.0, 60.0, 60.0), Tally(60.0, 20.0, 20.0)
    arms = [ArmEvidence(arm=Arm(model=name), id=name, drawn=scores, count=159, by_source=(159, 0, 0, 0)) for name, scores in (("a", first), ("b", second))]
    changed = replace(arms[0], changed_s=60, rated_since_change=60)

    plain, charged = (lead(ClassEvidence(query_class="code", arms=(one, arms[1])), 0.05) for one in (arms[0], changed))

    assert plain is not None
    assert charged is not None
    assert plain.odds / charged.odds == pytest.approx(100 * 101)
