"""The demo's world and its audit, without a broker."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from stream.demo.audit import add_up, compare
from stream.demo.fleet import Tally
from stream.demo.run import last_lines, settings_of
from stream.demo.world import find_world, world_of_outcomes, world_of_table
from stream.fold.totals import SUMS, Sum
from stream.records import Arm, ArmStatistics, PartitionStatistics


def test_world_of_outcomes_splits_arms_into_model_and_agent_and_leaves_out_incomplete_queries() -> None:
    """Uniform choice earns the mean over arms: (1 + 0) / 2 on q1; q2 was not served by every arm."""
    queries = [{"query_id": "q1", "cls": "c", "query": "?"}, {"query_id": "q2", "cls": "c", "query": "?"}]
    outcomes = [
        {"query_id": "q1", "model": "m+react", "agent": "react", "reward": 1.0, "turns": 2},
        {"query_id": "q1", "model": "m+plan", "agent": "plan", "reward": 0.0, "turns": 9},
        {"query_id": "q2", "model": "m+plan", "agent": "plan", "reward": 1.0, "turns": 1},
    ]

    world = world_of_outcomes(queries, outcomes)

    assert len(world.queries) == 1
    assert {arm.id for arm in world.arms} == {"m|react", "m|plan"}
    assert world.reward(0, Arm(model="m", agent="react")) == 1.0
    assert world.uniform(0) == 0.5


def test_shipped_table_makes_a_world_where_learning_pays() -> None:
    """The best arm of each class must beat uniform choice by far more than the five points that the demo promises.

    From the table: the best of each class are .93, .56, .74, .76 (mean .75), all arms together .42; 512 draws of either have a
    standard error of about .02, so a gap of .2 leaves six of them.
    """
    table = json.loads(files("stream.demo").joinpath("outcomes.json").read_text())

    world = world_of_table(table, seed=1)

    best = {name: Arm.parse(max(means, key=means.get)) for name, means in table["rewards"].items()}
    numbers = range(len(world.queries))
    gain = sum(world.reward(number, best[world.queries[number].query_class]) - world.uniform(number) for number in numbers) / len(numbers)
    assert gain > 0.2
    assert world.queries == world_of_table(table, seed=1).queries


def test_world_falls_back_to_the_shipped_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fresh installation has no data beside it; the demo must run all the same."""
    monkeypatch.setenv("EDDY_DATA", str(tmp_path))

    assert "shipped with the package" in find_world(seed=0).source


def totals(count: int, latency_ms: int) -> tuple[int, ...]:
    sums = [0] * SUMS
    sums[Sum.COUNT], sums[Sum.LATENCY_MS] = count, latency_ms
    return tuple(sums)


def test_audit_notices_lost_double_and_differing() -> None:
    """Three classes: one trace missing, two too many, and equal counts with another latency; two more never reached the log."""
    expected = {("a", "m"): totals(5, 0), ("b", "m"): totals(5, 0), ("c", "m"): totals(5, 10)}
    counted = {("a", "m"): totals(4, 0), ("b", "m"): totals(7, 0), ("c", "m"): totals(5, 11)}

    found = compare(expected, counted, missing=2, duplicates=3)

    assert (found.lost, found.double_counted, found.differing, found.duplicates) == (3, 2, 3, 3)
    assert not found.is_clean
    assert compare(expected, expected, missing=0, duplicates=9).is_clean


def test_add_up_merges_partitions_buckets_and_draws() -> None:
    """2 + 3 in two buckets of one partition and 4 in another are nine, whether the arm was drawn or not."""

    def record(partition: int, *counts: int) -> PartitionStatistics:
        rows = tuple((60, start, start % 2, *totals(count, 0)) for start, count in enumerate(counts))
        return PartitionStatistics(fold="f", partition=partition, offset=1, log_time_ms=0, query_class="a", arms=(ArmStatistics(arm=Arm(model="m"), buckets=rows),))

    assert add_up([record(0, 2, 3), record(1, 4)]) == {("a", "m"): totals(9, 0)}


def test_last_line_is_the_one_that_scripts_read() -> None:
    """CI looks for exactly these words."""
    tally = Tally(requests=4, reward=3.0, uniform=2.0)

    lines = last_lines(tally, compare({}, {}, missing=0, duplicates=0), dropped=0)

    assert lines[-1] == "demo: requests=4 mean_reward=0.750 uniform=0.500 lost=0 double_counted=0"


def test_children_find_the_demo_settings_in_their_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with another number of partitions or other arms would be another fold, or another game."""
    from stream.settings import load

    settings, environment = settings_of(find_world(seed=0), tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert load() == settings
