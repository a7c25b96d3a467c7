"""Triggers of learning cycles: each threshold by hand, the same request for the same log, and noise that fires nothing."""

from __future__ import annotations

import random

import pytest

from stream.fold.totals import MICRO, Sum, identity
from stream.learning.triggers.thresholds import Thresholds, counted, request
from stream.routing.weighing import Bucket, Sums

START_S = 1_700_000_040


def bucket(minute: int, scores: list[float], *, unscored: int = 0, width_s: int = 60) -> tuple[Bucket, Sums]:
    """A minute's traces, scored by people, and others that nobody scored."""
    sums = list(identity())
    sums[Sum.COUNT], sums[Sum.HUMAN] = len(scores) + unscored, len(scores)
    sums[Sum.HUMAN_MICRO] = sum(round(score * MICRO) for score in scores)
    sums[Sum.HUMAN_MICRO_SQ] = sum(round(score * MICRO) ** 2 for score in scores)
    return (width_s, START_S + 60 * minute, 1), tuple(sums)


def asked(totals: dict[Bucket, Sums], *, minutes: int = 60, last_s: float = 0.0, **given: float):  # type: ignore[no-untyped-def]
    return request(totals, log_time_s=START_S + 60.0 * minutes, last_s=last_s, thresholds=Thresholds(**{"cooldown_s": 600.0, **given}))  # type: ignore[arg-type]


def test_new_traces_and_ratings_fire_at_their_thresholds() -> None:
    """Ten traces, of which four are scored: 10 and 4 fire, 11 and 5 do not."""
    totals = dict([bucket(0, [1.0, 0.0], unscored=3), bucket(1, [1.0, 0.5], unscored=3)])

    assert asked(totals, traces=10).trigger == "new traces"
    assert asked(totals, traces=11) is None
    assert asked(totals, rated=4).trigger == "new ratings"
    assert asked(totals, rated=5) is None
    assert asked(totals, traces=10).evidence == {"new_traces": 10, "new_rated": 4, "since": 0.0, "threshold": 10}


def test_only_what_came_since_the_last_cycle_counts() -> None:
    """Of an hour's sixty traces, half an hour ago: thirty; of a bucket that lies after it, all; of one before, none."""
    (hour, sums) = bucket(0, [1.0] * 60, width_s=3600)
    totals = {hour: sums, **dict([bucket(60, [1.0] * 5)])}

    assert counted(totals, (Sum.COUNT,), START_S + 1800.0) == 35
    assert counted(totals, (Sum.COUNT,), START_S + 3600.0) == 5
    assert asked(totals, minutes=70, last_s=START_S + 1800.0, traces=36) is None
    assert asked(totals, minutes=70, last_s=START_S + 1800.0, traces=35) is not None


def test_time_fires_where_anything_is_new_and_never_within_the_cooldown() -> None:
    """An hour has passed: with one trace a cycle is due, with none it is not, and ten minutes after the last one nothing is."""
    totals = dict([bucket(0, [], unscored=1)])

    assert asked(totals, every_s=3600.0).trigger == "time"
    assert asked({}, every_s=3600.0) is None
    assert asked(totals, minutes=9, last_s=float(START_S), traces=1) is None
    assert asked(totals, minutes=10, last_s=float(START_S) - 1.0, traces=1) is not None
    assert asked(totals) is None
    assert not Thresholds().are_set


def test_the_same_log_asks_for_the_same_cycle() -> None:
    """A worker that starts anew, or a second one, gives the request the same id; after that cycle it is another one."""
    totals = dict(bucket(minute, [1.0] * 10) for minute in range(10))

    first, later = asked(totals, minutes=20, traces=50), asked(totals, minutes=30, traces=50)
    after = asked(totals, minutes=40, last_s=START_S + 60.0, traces=50)

    assert first.cycle_id == later.cycle_id == "new-traces-0"
    assert after.cycle_id == f"new-traces-{START_S + 60}"


def test_a_fall_of_the_scores_fires_and_a_rise_does_not() -> None:
    """From .9 to .5 after thirty minutes of ten traces each: fallen by about .4, once; before the last cycle it is old news."""
    rng = random.Random(3)

    def course(before: float, after: float) -> dict[Bucket, Sums]:
        return dict(bucket(minute, [float(rng.random() < (before if minute < 30 else after)) for _ in range(10)]) for minute in range(60))

    fallen = course(0.9, 0.5)

    assert asked(fallen, drop=0.3).trigger == "feedback drop"
    assert asked(fallen, drop=0.3).evidence["fallen_by"] == pytest.approx(0.4, abs=0.08)
    assert asked(fallen, drop=0.6) is None
    assert asked(course(0.5, 0.9), drop=0.1) is None
    assert asked(fallen, last_s=START_S + 60.0 * 45, drop=0.3) is None


def test_noise_fires_no_drop() -> None:
    """Two hundred hours of scores whose mean stays, looked at every ten minutes: at most 1 % may fire; 8 or more would come up with probability 1e-3."""
    fired = 0
    for seed in range(200):
        rng = random.Random(seed)
        totals = dict(bucket(minute, [float(rng.random() < 0.7) for _ in range(10)]) for minute in range(60))
        looks = ({key: sums for key, sums in totals.items() if key[1] < START_S + 60 * minutes} for minutes in range(10, 61, 10))
        fired += any(asked(seen, minutes=minutes, drop=0.01) is not None for minutes, seen in zip(range(10, 61, 10), looks, strict=True))

    assert fired < 8
