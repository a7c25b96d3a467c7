"""The parts of benchmarks.routing_quality: what a set plays, what full information would earn, and what a figure means."""

from __future__ import annotations

import doctest
import gzip
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.options import BENCH_PYTHON
from benchmarks.routing import bounds, contestants, metrics, page, sets
from benchmarks.routing.curves import curves
from benchmarks.routing.matrix import Matrix, read
from benchmarks.routing.replay import play
from benchmarks.routing.scores import Contest, Result, difference, entry, own_figures, scores
from benchmarks.routing.sets import SETS, Ceiling, Rounds, RoutingSet

DATA = Path(os.environ.get("EDDY_DATA", Path(__file__).parents[3] / "shared" / "data"))


def matrix_of(reward: Sequence[Sequence[float]], cost_usd: Sequence[float] | None = None, queries: Sequence[str] | None = None) -> Matrix:
    """A matrix of these rewards, each arm at one price."""
    array = np.array(reward, dtype=float)
    names = tuple(queries or (f"query {number}" for number in range(len(array))))
    prices = np.full(array.shape, np.nan) if cost_usd is None else np.tile(np.array(cost_usd, dtype=float), (len(array), 1))
    arms = tuple(f"arm{number}" for number in range(array.shape[1]))
    return Matrix(queries=names, groups=tuple("group" for _ in names), arms=arms, reward=array, cost_usd=prices, latency_s=np.full(array.shape, np.nan))


class Listener:
    """A player that takes its arms in turn and writes down what it is told."""

    def __init__(self, arms: Sequence[str], *, max_cost_usd: float | None, max_latency_s: float | None, seed: int) -> None:
        self.arms, self.told, self.asked = list(arms), [], []

    def add_arm(self, name: str) -> None:
        self.arms.append(name)

    def choose(self, query: str, query_class: str) -> tuple[int, float]:
        self.asked.append((query, query_class, len(self.arms)))
        return len(self.asked) % len(self.arms), 1 / len(self.arms)

    def learn(self, reward: float, cost_usd: float | None, latency_s: float | None) -> None:
        self.told.append((reward, cost_usd, latency_s))

    def gap(self, query: str, query_class: str) -> float:
        return float(len(query))


@pytest.mark.parametrize("module", [bounds, metrics, page])
def test_examples_hold(module: object) -> None:
    """What a docstring shows is what the function does."""
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# ---- sets


def test_sets_have_their_permanent_names() -> None:
    """Figures of two versions are compared by name."""
    named = [f"pb3_{level}_{start}" for start in ("cold", "warm") for level in ("low", "mid", "high")]

    assert list(SETS) == [*named, "pb3_price_drift", "pb3_degradation", "pb4_new_arm", "mmlu_subject", "mmlu_text", "bfcl", "intercode_sql"]


def test_cold_plays_every_query_once_in_an_order_of_the_seed() -> None:
    """Seeds are paired: every contestant meets the same order, and another seed another one."""
    matrix = matrix_of([[number / 100] for number in range(100)])

    first, again, other = (sets.cold(matrix, seed) for seed in (1, 1, 2))

    assert sorted(first.order.tolist()) == list(range(100))
    assert first.order.tolist() == again.order.tolist() != other.order.tolist()
    assert first.reward[:, 0].tolist() == [query / 100 for query in first.order.tolist()]
    assert first.scored.all()


def test_warm_scores_only_the_half_that_comes_second() -> None:
    """Of 7 queries 3 warm up: 4 are scored, none of them seen before."""
    rounds = sets.warm(matrix_of([[0.0]] * 7), seed=3)

    assert rounds.scored.tolist() == [False] * 3 + [True] * 4
    assert sorted(rounds.order.tolist()) == list(range(7))


def test_price_drift_makes_the_costliest_arm_cheap_in_the_second_phase_alone() -> None:
    """Of 9 rounds the second three: $2 becomes $0.20, the other arm's $1 stays; rewards are untouched."""
    rounds = sets.price_drift(matrix_of([[0.5, 0.5]] * 9, cost_usd=[1.0, 2.0]), seed=0)

    assert rounds.phase.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert rounds.cost_usd[:, 1].tolist() == pytest.approx([2.0] * 3 + [0.2] * 3 + [2.0] * 3)
    assert rounds.cost_usd[:, 0].tolist() == [1.0] * 9
    assert rounds.reward.tolist() == [[0.5, 0.5]] * 9


def test_degradation_hits_the_best_arm_within_the_ceiling() -> None:
    """The best arm of all costs $1, beyond the middle ceiling of $6.6e-4: the second best, at $5e-4, loses 18 % of .8, so .656."""
    rounds = sets.degradation(matrix_of([[0.2, 0.8, 0.9]] * 6, cost_usd=[1e-5, 5e-4, 1.0]), seed=0)

    assert rounds.reward[:, 1].tolist() == pytest.approx([0.8] * 2 + [0.656] * 2 + [0.8] * 2)
    assert rounds.reward[:, [0, 2]].tolist() == [[0.2, 0.9]] * 6


def test_labelled_queries_are_never_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ranking scored on queries whose labels were seen would be a better one than it is."""
    monkeypatch.setattr(sets, "LABELS", 4)

    rounds = sets.labelled(matrix_of([[1.0, 0.0]] * 10), seed=5)

    assert len(rounds.order) == 4
    assert sorted([*rounds.order.tolist(), *rounds.ranked.tolist()]) == list(range(10))


def test_drawn_scores_the_last_draws() -> None:
    """2,000 draws out of 3 queries, so with replacement; 500 of them count."""
    rounds = sets.drawn(matrix_of([[0.0]] * 3), seed=0)

    assert len(rounds.order) == 2_000
    assert set(rounds.order.tolist()) == {0, 1, 2}
    assert rounds.scored.tolist() == [False] * 1_500 + [True] * 500


def test_classes_are_read_off_the_text_unless_the_set_says_otherwise() -> None:
    """A router knows no benchmark of origin: `subject` alone is given, and only where the set's name says so."""
    matrix = matrix_of([[0.0]], queries=["import os"])

    assert SETS["pb3_mid_cold"].classes(matrix) == ("code",)
    assert SETS["mmlu_subject"].classes(matrix) == ("group",)
    assert [name for name, each in SETS.items() if each.classed] == ["mmlu_subject"]


def test_matrix_needs_every_outcome(tmp_path: Path) -> None:
    """A hole filled with 0 would count against the arm that was never asked."""
    rows = {"queries": [{"query_id": "a", "cls": "c", "query": "q"}, {"query_id": "b", "cls": "c", "query": "q"}], "outcomes": [{"query_id": "a", "model": "m", "reward": 1}]}
    for name, lines in rows.items():
        (tmp_path / f"x.{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))

    with pytest.raises(ValueError, match="lacks 1 of 2 outcomes"):
        read(tmp_path, "x")
    with pytest.raises(FileNotFoundError, match="--data"):
        read(tmp_path, "y")


@pytest.mark.skipif(not (DATA / "bfcl.outcomes.jsonl.gz").exists(), reason=f"needs the recorded outcomes in {DATA} (EDDY_DATA names another folder)")
def test_recorded_data_make_the_sets_they_are_said_to_make() -> None:
    """Sizes as the data's own README gives them; gpt-4 is the strong arm, and 58 models' latency is recorded."""
    shapes = {name: SETS[name].matrix(DATA).reward.shape for name in ("pb3_mid_cold", "pb4_new_arm", "mmlu_text", "bfcl", "intercode_sql")}

    assert shapes == {"pb3_mid_cold": (1_785, 3), "pb4_new_arm": (1_766, 4), "mmlu_text": (14_042, 2), "bfcl": (715, 58), "intercode_sql": (512, 12)}
    assert SETS["mmlu_text"].matrix(DATA).arms[0] == "gpt-4-1106-preview"
    assert SETS["pb4_new_arm"].matrix(DATA).arms[-1] == "google/gemini-2.5-flash"


# ---- replay


def test_a_player_learns_of_the_arm_it_chose_and_of_no_other() -> None:
    """Bandit feedback is the point of the replay: what the other arm would have earned stays hidden, and so does an unknown latency."""
    matrix = matrix_of([[0.1, 0.9]] * 4, cost_usd=[1.0, 2.0])
    made: list[Listener] = []

    def maker(arms: Sequence[str], **options: float | None) -> Listener:
        made.append(Listener(arms, **options))  # type: ignore[arg-type]
        return made[0]

    played = play(SETS["pb3_mid_cold"], matrix, sets.cold(matrix, 0), maker, 0)  # type: ignore[arg-type]

    assert played.chosen.tolist() == [1, 0, 1, 0]
    assert made[0].told == [(0.9, 2.0, None), (0.1, 1.0, None)] * 2


def test_a_new_arm_is_unknown_before_its_round() -> None:
    """Of 9 rounds the first 3 have two arms, then three."""
    matrix = matrix_of([[0.0, 0.0, 1.0]] * 9, cost_usd=[1.0, 1.0, 1.0])
    made: list[Listener] = []

    def maker(arms: Sequence[str], **options: float | None) -> Listener:
        made.append(Listener(arms, **options))  # type: ignore[arg-type]
        return made[0]

    play(SETS["pb4_new_arm"], matrix, sets.new_arm(matrix, 0), maker, 0)  # type: ignore[arg-type]

    assert [arms for _, _, arms in made[0].asked] == [2] * 3 + [3] * 6
    assert made[0].arms == ["arm0", "arm1", "arm2"]


# ---- bounds


def test_best_split_finds_what_a_search_over_all_policies_finds() -> None:
    """Reference: every mix of two deterministic policies over 3 groups of 3 arms, of which a linear programme with one constraint needs no more."""
    generator = random.Random(1)
    for _ in range(20):
        reward = np.array([[generator.random() for _ in range(3)] for _ in range(3)])
        spend = np.array([[generator.random() for _ in range(3)] for _ in range(3)])
        points = [(np.mean([spend[g, a] for g, a in enumerate(arms)]), np.mean([reward[g, a] for g, a in enumerate(arms)])) for arms in itertools.product(range(3), repeat=3)]
        most = 0.5
        if min(spent for spent, _ in points) > most:
            continue
        best = max(
            [earned for spent, earned in points if spent <= most]
            + [low + (most - cheap) / (dear - cheap) * (high - low) for (cheap, low), (dear, high) in itertools.permutations(points, 2) if cheap <= most < dear]
        )

        assert bounds.best_split(reward, spend, most) == pytest.approx(best)


def test_baselines_know_more_the_more_they_earn() -> None:
    """Uniform .5; a fixed arm .5; by class and by query 1, since the class says which arm is right."""
    matrix = matrix_of([[1.0, 0.0], [0.0, 1.0]] * 5, queries=["import os", "hello"] * 5)
    routed = RoutingSet(name="x", source="x", ceiling=sets.NO_CEILING, rounds=sets.cold)
    contest = Contest(routed=routed, matrix=matrix, rounds=[sets.cold(matrix, 0)])

    figures = entry(contest, {"contextual": Result(chosen=np.zeros((1, 10), dtype=int))}, ours="contextual")

    assert [figures[name] for name in ("uniform", "best_fixed", "best_mix", "best_by_class", "oracle")] == pytest.approx([0.5, 0.5, 0.5, 1.0, 1.0])


# ---- metrics


def test_queries_of_one_gap_count_as_a_random_order_would() -> None:
    """All four tie: the curve is the line from (0, 0) to (1, 1) wherever the gains stand, so the area is 1/2 and 80 % needs 80 %."""
    strong, weak = np.array([1.0, 0.0, 0.0, 1.0]), np.zeros(4)

    assert metrics.apgr(np.ones(4), strong, weak) == 0.5
    assert metrics.cpt80(np.ones(4), strong, weak) == pytest.approx(80.0)


def test_ranking_the_weak_arms_wins_first_costs_area() -> None:
    """Strong wins two queries, weak one; weak's first: 0, -1, 0, 1 over thirds: areas -1/6, -1/6, 1/6, in all -1/6; .8 is at 2/3 + .8/3."""
    gap, strong, weak = np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 0.0])

    assert metrics.apgr(gap, strong, weak) == pytest.approx(-1 / 6)
    assert metrics.cpt80(gap, strong, weak) == pytest.approx(100 * (2 / 3 + 0.8 / 3))


def test_adaptation_ends_where_a_window_begins_to_be_near_the_end() -> None:
    """100 rounds of 0 and 300 of 1: the final mean, of the last 200, is 1; a window of 50 is within .01 of it only when all of it is 1, from round 100 on."""
    assert metrics.adaptation_requests(np.array([0.0] * 100 + [1.0] * 300)) == 100


def test_a_curve_that_never_settles_has_not_adapted() -> None:
    """Its end swings between 0 and 1, of mean 1/2, and no window of one round is ever near that: all eight rounds count."""
    assert metrics.adaptation_requests(np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]), length=1) == 8


def test_a_new_arm_has_its_share_when_a_window_does() -> None:
    """Steady share .5 (the second half), so .45 is enough. The share is .4 from round 60 and .5 from round 100 on: the first window of 50
    with a mean of .45 holds 25 rounds of each, and begins at round 75.
    """
    shares = np.array([0.0] * 60 + [0.4] * 40 + [0.5] * 200)

    assert metrics.new_arm_requests(shares) == 75


def test_a_new_arm_that_is_never_chosen_reaches_nothing() -> None:
    """Else an arm that nobody wants would look adopted at once."""
    assert metrics.new_arm_requests(np.zeros(200)) is None


# ---- figures


def contest_of(matrix: Matrix, ceiling: Ceiling, rounds: Sequence[Rounds]) -> Contest:
    return Contest(routed=RoutingSet(name="x", source="x", ceiling=ceiling, rounds=sets.cold), matrix=matrix, rounds=rounds)


def test_spend_is_a_share_of_the_ceiling_phase_by_phase() -> None:
    """Three phases of 100 rounds under a ceiling of $2. The dear arm ($4, in the second phase $.40) is always chosen: 2, .2 and 2 ceilings, 1.4 in all."""
    matrix = matrix_of([[0.5, 1.0]] * 300, cost_usd=[1.0, 4.0])
    contest = contest_of(matrix, Ceiling(max_cost_usd=2.0), [sets.price_drift(matrix, seed) for seed in (0, 1)])

    figures = own_figures(contest, Result(chosen=np.ones((2, 300), dtype=int)))

    assert figures["phase_spend_ratios"] == pytest.approx([2.0, 0.2, 2.0])
    assert figures["phase_rewards"] == [1.0, 1.0, 1.0]
    assert (figures["spend_ratio_mean"], figures["spend_ratio_worst"]) == pytest.approx((1.4, 1.4))
    assert figures["adaptation_requests"] == 0


def test_regret_is_held_against_a_mix_that_spends_as_much() -> None:
    """Arms earn 0 and 1 and cost $1 and $3. Choosing the dear one once in four spends $1.50, at which a mix earns .25: no regret. An arm of
    the same price that earns nothing, chosen instead, makes it .25.
    """
    matrix = matrix_of([[0.0, 1.0, 0.0]] * 4, cost_usd=[1.0, 3.0, 3.0])
    contest = contest_of(matrix, Ceiling(max_cost_usd=2.0), [sets.cold(matrix, 0)])

    good, bad = (own_figures(contest, Result(chosen=np.array([[arm, 0, 0, 0]]))) for arm in (1, 2))

    assert good["regret"] == pytest.approx(0.0)
    assert bad["regret"] == pytest.approx(0.25)


def test_warm_up_counts_in_no_figure() -> None:
    """The first half earns 0 with the first arm, the scored one 1 with the second."""
    matrix = matrix_of([[0.0, 1.0]] * 4, cost_usd=[1.0, 2.0])
    contest = contest_of(matrix, Ceiling(max_cost_usd=2.0), [sets.warm(matrix, 0)])

    figures = own_figures(contest, Result(chosen=np.array([[0, 0, 1, 1]])))

    assert (figures["reward"], figures["spend_ratio_mean"]) == (1.0, 1.0)


def test_ours_is_compared_with_the_better_rival_and_not_with_an_absent_one() -> None:
    """Rewards of two seeds: ours 1 and 1; one rival 0, the other .5 and .5: differences of .5 exactly. Without one of the two, nothing is said."""
    matrix = matrix_of([[0.0, 1.0]] * 4)
    contest = contest_of(matrix, sets.NO_CEILING, [sets.cold(matrix, seed) for seed in (0, 1)])
    ours, worst, better = (Result(chosen=np.array([row, row])) for row in ([1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]))

    assert difference(contest, ours, [worst, better]) == [0.5, 0.5, 0.5]
    assert difference(contest, ours, [worst, None]) is None


def test_who_spends_more_is_not_ahead_for_that() -> None:
    """Both stand on the line between the two arms, one at twice the spend of the other: a tie."""
    matrix = matrix_of([[0.0, 1.0]] * 4, cost_usd=[1.0, 3.0])
    contest = contest_of(matrix, Ceiling(max_cost_usd=2.0), [sets.cold(matrix, 0)])

    saver, spender = (scores(contest, Result(chosen=np.array([row]))) for row in ([0, 0, 0, 1], [1, 1, 1, 1]))

    assert saver.tolist() == pytest.approx(spender.tolist())


def test_a_ranked_set_is_compared_by_its_ranking() -> None:
    """There the reward of the labels says nothing of what was learned from them."""
    matrix = matrix_of([[1.0, 0.0]] * 3, cost_usd=[1.0, 1.0])
    rounds = sets.rounds_of(matrix, np.array([0]), ranked=np.array([1, 2]))
    contest = contest_of(matrix, Ceiling(max_cost_usd=1.0), [rounds])

    assert scores(contest, Result(chosen=np.array([[0]]), ranks=[{"apgr": 0.6, "cpt80": 70.0}])).tolist() == [0.6]


def test_curves_say_where_conditions_changed() -> None:
    """300 rounds in three phases: changes at 100 and 200; the reward's curve is a running mean, the spend's a window's."""
    matrix = matrix_of([[0.5, 1.0]] * 300, cost_usd=[1.0, 4.0])
    contest = contest_of(matrix, Ceiling(max_cost_usd=2.0), [sets.price_drift(matrix, 0)])

    drawn = curves(contest, {"ours": Result(chosen=np.ones((1, 300), dtype=int)), "absent": None})

    assert drawn["changes"] == [100, 200]
    assert list(drawn["contestants"]) == ["ours"]
    assert set(drawn["contestants"]["ours"]["reward"]) == {1.0}
    assert Counter(drawn["contestants"]["ours"]["spend"]).keys() >= {2.0, 0.2}


def test_the_section_has_a_row_a_set() -> None:
    """What is null is left blank, and an interval reads low / mean / high."""
    figures = {"sets": {"bfcl": {"reward": 0.87654321, "spend_ratio_mean": None, "ours_minus_vw": [-0.1, 0.0, 0.1], "latency_mean_s": 1.25}}, "aa_false_winner": 0.03}

    body = page.section(figures, conditions="", notes=())

    assert "| `bfcl` | 0.8765 |  |" in body
    assert "-0.1 / 0.0 / 0.1" in body
    assert "| `bfcl` | `latency_mean_s` | 1.25 |" in body
    assert "| | `aa_false_winner` | 0.03 |" in body


# ---- rivals


@pytest.mark.skipif(not (DATA / "intercode_sql.outcomes.jsonl.gz").exists(), reason=f"needs the recorded outcomes in {DATA} (EDDY_DATA names another folder)")
@pytest.mark.parametrize("rival", contestants.RIVALS)
def test_a_rival_learns_on_the_same_rounds(rival: str) -> None:
    """One that learned nothing would earn as much as chance, .416 here, and to be ahead of it would say nothing of ours.

    512 rewards with a deviation of at most .5: chance alone, with one of at most .022 in the mean, is beyond .55 in less than one of 10^8 runs.
    """
    if rival in contestants.missing_rivals(BENCH_PYTHON):
        pytest.skip(f"needs {contestants.NEEDS[rival]} in .venv/bench; `make bench` sets it up")
    job = contestants.Job(name="intercode_sql", contestant=rival, data=DATA, seeds=(0,))
    met = contestants.contest(job, job.seeds)

    result = contestants.played_by_rival(job)

    assert result.chosen.shape == (1, 512)
    assert own_figures(met, result)["reward"] > 0.55


def test_a_rival_that_is_not_installed_is_named() -> None:
    """The benchmark goes on without it, and says so; a figure of nothing must not be 0."""
    assert contestants.missing_rivals(Path("/nowhere/python")) == {"mabwiser_linucb": "mabwiser", "mabwiser_thompson": "mabwiser", "vw": "vowpalwabbit"}
