"""Rewards other than quality: the seed's by hand, a user's by entry point, and what becomes of one that breaks its word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream.errors import SettingsError
from stream.fold.checkpoint import Changelog, recover, write_checkpoint
from stream.fold.fold import fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.fold.totals import SUMS, Sum
from stream.reading.query_class import classify_query
from stream.reading.reward import SeedReward, reward_function
from stream.records import Trace
from stream.settings import Settings
from tests.logs import LogRecord, small_spec

USERS = """
def halves(trace):
    return None if trace.outcome is None else 0.5

def promises(trace):
    return {"raises": 1 // 0 if trace.query == "raises" else 0, "nan": float("nan"), "high": 1.01, "low": -0.01, "text": "1", "true": True}[trace.query]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution of a user's, with two rewards, as pip would have unpacked it."""
    (tmp_path / "users_rewards.py").write_text(USERS)
    folder = tmp_path / "users_rewards-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: users-rewards\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[eddy.rewards]\nhalves = users_rewards:halves\npromises = users_rewards:promises\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def trace(trace_id: str = "t", *, tokens: tuple[int, int] | None = (900, 100), **fields: Any) -> dict[str, Any]:
    """A trace whose two steps of generation took 900 tokens of prompt and 100 of answer together."""
    halves = [{"step_type": "generate", "output": {"prompt_tokens": tokens[0] / 2, "completion_tokens": tokens[1] / 2}}] * 2 if tokens else []
    return {"trace_id": trace_id, "model": "m", "query_class": "c", "total_latency_seconds": 3.0, "cost_usd": 0.001, "steps": halves} | fields


def read(body: dict[str, Any]) -> Trace:
    return Trace(**body)


def folded(spec: FoldSpec, *bodies: dict[str, Any]) -> PartitionState:
    state = PartitionState(0, spec)
    fold(state, [LogRecord(at, 0, body["trace_id"].encode(), json.dumps(body).encode()) for at, body in enumerate(bodies)], classify_query)
    return state


def reward_sums(state: PartitionState) -> list[int]:
    """How many traces have a reward, the sum of the micro-rewards, and that of their squares."""
    (sums,) = (sums for arms in state.canonical()["totals"].values() for buckets in arms.values() for sums in buckets.values())
    return sums[Sum.REWARD :]


def test_seeds_reward_is_read_off_a_trace() -> None:
    """Weights .4, .3, .3 of 1 - 3/30 = .9, 1 - .001/.01 = .9 and 100/1000 = .1: .36 + .27 + .03."""
    assert SeedReward()(read(trace())) == pytest.approx(0.66, abs=1e-12)


@pytest.mark.parametrize("absent", [{"cost_usd": 0.0}, {"total_latency_seconds": 0.0}, {"tokens": None}, {"tokens": (0, 0)}])
def test_seeds_reward_of_what_is_not_known_is_unknown(absent: dict[str, Any]) -> None:
    """The seed takes an unknown cost for a free answer and unknown tokens for half: the arm that reports nothing would win."""
    assert SeedReward()(read(trace(**absent))) is None


def test_quantity_under_a_ceiling_leaves_the_reward_and_need_not_be_known() -> None:
    """Without cost, .4 and .3 become 4/7 and 3/7: 4/7 · .9 + 3/7 · .1 = 3.9/7; without both, the tokens alone: .1."""
    without_cost, without_both = SeedReward().without(["cost"]), SeedReward().without(["cost", "latency"])

    assert without_cost(read(trace(cost_usd=0.0))) == pytest.approx(3.9 / 7, abs=1e-12)
    assert without_both(read(trace(cost_usd=0.0, total_latency_seconds=0.0))) == pytest.approx(0.1, abs=1e-12)


def test_ceiling_is_in_the_fold_of_the_seeds_reward_alone() -> None:
    """Setting a ceiling must not fold the log anew where the reward is quality; where it changes what is summed it must."""
    plain, capped, seeds, without = (
        FoldSpec.of(Settings(**given)) for given in ({}, {"max_cost_usd": 0.01}, {"reward": "seed"}, {"reward": "seed", "max_cost_usd": 0.01})
    )

    assert plain.id == capped.id
    assert without.reward_without == ("cost",)
    assert len({plain.id, seeds.id, without.id}) == 3


def test_reward_is_summed_beside_the_score_and_a_duplicate_is_not() -> None:
    """.66 twice: 2, 1.32 million micro, and 2 · 660,000² = 871.2 billion; the outcome stays where it was."""
    state = folded(small_spec(reward="seed"), trace("a", outcome="success"), trace("b"), trace("b"), trace("unknown", tokens=None))

    assert reward_sums(state) == [2, 1_320_000, 871_200_000_000]
    assert state.counters.reward_faults == 0
    (sums,) = (sums for buckets in state.canonical()["totals"]["c"].values() for sums in buckets.values())
    assert (sums[Sum.COUNT], sums[Sum.OUTCOME]) == (3, 1)


def test_reward_survives_a_checkpoint() -> None:
    """What is recovered must be what was folded, three sums more or not."""
    state = folded(small_spec(reward="seed"), trace("a"), trace("b"))

    found, _ = recover(dict(write_checkpoint(state, Changelog(horizon=40), checkpoint_id=bytes(16), full=True).parts), number=0, spec=state.spec)

    assert found.canonical() == state.canonical()


def test_quality_costs_no_sum() -> None:
    """Whoever does not ask for a reward must not pay for one, in memory, checkpoints or on the wire: three columns name the bucket, three sums are left out."""
    state = folded(small_spec(), trace("a"))

    ((_, *buckets),) = ((arm.arm, *arm.buckets) for arm in state.statistics("c").arms)
    assert [len(row) for row in buckets] == [3 + SUMS] == [len(Sum)]


@pytest.mark.usefixtures("installed")
def test_users_reward_is_found_by_its_entry_point() -> None:
    """.5 for what has an outcome, unknown without one: one trace of two, 500,000 micro."""
    state = folded(small_spec(reward="halves"), trace("a", outcome="failure"), trace("b"))

    assert reward_sums(state) == [1, 500_000, 250_000_000_000]


@pytest.mark.usefixtures("installed")
def test_reward_that_breaks_its_word_is_unknown_and_counted() -> None:
    """It raises, answers no number, none in [0, 1], or no key: the trace counts, unrated, the worker lives. True is 1."""
    state = folded(small_spec(reward="promises"), *[trace(name, query=name) for name in ("raises", "nan", "high", "low", "text", "no such key", "true")])

    assert state.counters.reward_faults == 6
    assert reward_sums(state) == [1, 1_000_000, 1_000_000_000_000]
    assert state.counters.traces == 7


def test_trace_that_is_none_as_a_whole_is_counted_without_a_reward() -> None:
    """The fold reads a trace in part: steps of another shape have never kept one from being counted."""
    state = folded(small_spec(reward="seed"), trace("a", steps="none to speak of"))

    assert (state.counters.traces, state.counters.reward_faults) == (1, 0)
    assert reward_sums(state) == [0, 0, 0]


@pytest.mark.usefixtures("installed")
def test_unknown_reward_is_refused_with_the_names_there_are() -> None:
    """A deployment that names a reward which is not installed must hear so at its start."""
    with pytest.raises(SettingsError, match=r"'nowhere' is not installed.*'quality', 'seed', 'halves', 'promises'"):
        reward_function("nowhere")
    assert reward_function("quality") is None
