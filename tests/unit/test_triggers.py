"""Triggers of learning cycles: each threshold by hand, the same request for the same log, and noise that fires nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import pytest

from stream.fold.totals import MICRO, Sum, identity
from stream.learning.triggers import watching
from stream.learning.triggers.thresholds import Asked, Last, Reading, Rules, Thresholds, readings, requests
from stream.learning.triggers.watching import Watch, least_good
from stream.records import Arm, ArmStatistics, CycleRequested, PartitionStatistics
from stream.settings import load

START_S = 1_700_000_040
Row = tuple[int, ...]


def row(minute: int, scores: list[float], *, unscored: int = 0, width_s: int = 60) -> Row:
    """A minute's traces, scored by people, and others that nobody scored."""
    sums = list(identity())
    sums[Sum.COUNT], sums[Sum.HUMAN] = len(scores) + unscored, len(scores)
    sums[Sum.HUMAN_MICRO] = sum(round(score * MICRO) for score in scores)
    sums[Sum.HUMAN_MICRO_SQ] = sum(round(score * MICRO) ** 2 for score in scores)
    return (width_s, START_S + 60 * minute, 1, *sums)


def total(rows: Iterable[Row], *, agent: str = "react", query_class: str = "code", partition: int = 0) -> PartitionStatistics:
    arm = ArmStatistics(arm=Arm(model="m", agent=agent), buckets=tuple(rows))
    return PartitionStatistics(fold="f", partition=partition, offset=1, log_time_ms=0, query_class=query_class, arms=(arm,))


def watched(*totals: PartitionStatistics) -> Watch:
    watch = Watch(min_quality=0.7)
    for _ in watch.follow(totals):
        pass
    return watch


def asked(rows: Iterable[Row] | Watch, *, minutes: int = 60, last_s: float = 0.0, **given: Any) -> CycleRequested | None:
    """What is asked for over all agents."""
    watch = rows if isinstance(rows, Watch) else watched(total(rows))
    rules = Rules(Thresholds(**{"cooldown_s": 600.0, **given}))
    return next(requests(watch, rules, Asked(Last(last_s)), log_time_s=START_S + 60.0 * minutes), None)


def said(found: CycleRequested | None) -> Mapping[str, Any]:
    assert found is not None
    return {"trigger": found.trigger, "agent": found.agent, **{name: value for name, value in found.evidence.items() if name != "counted"}}


def test_new_traces_ratings_and_pairs_fire_at_their_thresholds() -> None:
    """Ten traces, of which four are scored and two are good: 10, 4 and 2 fire, 11, 5 and 3 do not."""
    rows = [row(0, [1.0, 0.0], unscored=3), row(1, [1.0, 0.0], unscored=3)]

    assert said(asked(rows, traces=10)) == {"trigger": "new traces", "agent": "", "new_traces": 10, "new_rated": 4, "new_pairs": 2, "since": 0.0, "threshold": 10}
    assert asked(rows, traces=11) is None
    assert said(asked(rows, rated=4))["trigger"] == "new ratings"
    assert asked(rows, rated=5) is None
    assert said(asked(rows, pairs=2))["trigger"] == "new pairs"
    assert asked(rows, pairs=3) is None


def test_good_scores_are_never_counted_more_than_there_are() -> None:
    """The oracle counts them one by one: of 2,000 random sets no bound is above it, of sets of zeros and ones each is exact, and of high scores it finds half."""
    rng, found, there = random.Random(5), 0, 0
    for number in range(2_000):
        kind = number % 3
        scores = [round([rng.random(), float(rng.random() < 0.6), rng.uniform(0.8, 1.0)][kind] * MICRO) for _ in range(rng.randrange(1, 12))]
        least, exact = least_good(len(scores), sum(scores), sum(score**2 for score in scores), 700_000), sum(score >= 700_000 for score in scores)

        assert least <= exact
        assert kind != 1 or least == exact
        found, there = found + (least if kind == 2 else 0), there + (exact if kind == 2 else 0)
    assert found > there / 2


@pytest.mark.parametrize("good", [0.0, 1.0])
def test_good_scores_are_counted_at_the_ends_of_the_scale(good: float) -> None:
    """From 0 on all are good; from 1 on those of 1, which are known where there are no others."""
    assert least_good(3, 3 * MICRO, 3 * MICRO**2, round(good * MICRO)) == 3


def test_only_what_came_since_the_last_cycle_counts() -> None:
    """Of an hour's sixty traces, half an hour ago: thirty; of a bucket that lies after it, all; of one before, none."""
    rows = [row(0, [1.0] * 60, width_s=3600), row(60, [1.0] * 5)]

    assert asked(rows, minutes=70, last_s=START_S + 1800.0, traces=36) is None
    assert said(asked(rows, minutes=70, last_s=START_S + 1800.0, traces=35))["new_traces"] == 35
    assert asked(rows, minutes=120, last_s=START_S + 3600.0, traces=6) is None
    assert said(asked(rows, minutes=120, last_s=START_S + 3600.0, traces=5))["new_traces"] == 5


def test_what_a_request_has_counted_is_not_new_whatever_bucket_it_is_in_later() -> None:
    """Fifty traces in one minute, and a request half-way through it: none is new then, nor when the minute has become a part of an hour, or a day; seven that follow are."""
    hour, day = START_S // 3600 * 3600, START_S // 86_400 * 86_400
    at_s = START_S + 30.0
    first = next(requests(watched(total([row(0, [1.0] * 50)])), Rules(Thresholds(traces=50, cooldown_s=0.0)), Asked(), log_time_s=at_s))
    asked_for = Asked()
    asked_for.note(first.agent, first.requested_at, msgspec.json.decode(msgspec.json.encode(first.evidence)))

    for width_s, start_s in ((60, START_S), (3600, hour), (86_400, day)):
        for more in (0, 7):
            rows = [(width_s, start_s, *row(0, [1.0] * (50 + more))[2:])]
            (read,) = readings(watched(total(rows)), Rules(Thresholds(traces=50, rated=50, pairs=50)), asked_for, log_time_s=at_s + 100_000.0)
            assert [each.value for each in read] == [more, more, more]


@pytest.mark.parametrize("said", [None, 5, {"60": 3}, {"x": [1, 2, 3]}, {"60": [1, 2]}, {"60": ["a", 2, 3]}])
def test_request_that_does_not_say_what_it_has_counted_is_taken_by_its_time(said: Any) -> None:
    """A person's says nothing; what another process says may be anything."""
    asked_for = Asked()
    asked_for.note("", START_S + 30.0, {"counted": said})

    (read,) = readings(watched(total([row(0, [1.0] * 50)])), Rules(Thresholds(traces=50)), asked_for, log_time_s=START_S + 60.0)
    assert read[0].value == 25


def test_time_fires_where_anything_is_new_and_never_within_the_cooldown() -> None:
    """An hour has passed: with one trace a cycle is due, with none it is not, and ten minutes after the last one nothing is."""
    rows = [row(0, [], unscored=1)]

    assert said(asked(rows, every_s=3600.0))["trigger"] == "time"
    assert asked([], every_s=3600.0) is None
    assert asked(rows, minutes=9, last_s=float(START_S), traces=1) is None
    assert asked(rows, minutes=10, last_s=float(START_S) - 1.0, traces=1) is not None
    assert asked(rows) is None
    assert not Rules().are_set


def test_the_same_log_asks_for_the_same_cycle() -> None:
    """A worker that starts anew, or a second one, gives the request the same id; after that cycle it is another one."""
    rows = [row(minute, [1.0] * 10) for minute in range(10)]

    first, later = asked(rows, minutes=20, traces=50), asked(rows, minutes=30, traces=50)
    after = asked(rows, minutes=40, last_s=START_S + 60.0, traces=50)

    assert first.cycle_id == later.cycle_id == "new-traces-0"
    assert after.cycle_id == f"new-traces-{START_S + 60}"


def test_totals_that_change_are_watched_as_if_they_were_read_anew() -> None:
    """Twenty totals of two partitions and three agents, one after the other in any order, some taken away: at each, all courses are those of a fresh watch."""
    rng, watch, there = random.Random(2), Watch(min_quality=0.7), dict[tuple[str, int], PartitionStatistics]()
    for _ in range(20):
        key = (rng.choice(("code", "math")), rng.randrange(2))
        there.pop(key, None)
        if rng.random() < 0.8:
            rows = [row(minute, [float(rng.random() < 0.5) for _ in range(3)]) for minute in range(rng.randrange(1, 5))]
            there[key] = total(rows, agent=rng.choice(("a", "b", "c")), query_class=key[0], partition=key[1])
        for _ in watch.follow(list(there.values())):
            pass

        fresh = watched(*there.values())
        assert watch.everything.buckets == fresh.everything.buckets
        for mine, theirs in ((watch.agents, fresh.agents), (watch.classes, fresh.classes)):
            assert {name: course.buckets for name, course in mine.items() if course.buckets} == {name: course.buckets for name, course in theirs.items()}


def test_agents_beyond_the_cap_are_never_watched_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two may be: the third is counted in everything, and is not taken out of what it was never counted in, though one of the two has left meanwhile."""
    monkeypatch.setattr(watching, "MOST_AGENTS", 2)
    totals = [total([row(0, [1.0] * 5)], agent=agent, partition=number) for number, agent in enumerate(("a", "b", "c"))]
    watch = watched(*totals)
    for there in (totals[1:], totals[1:2]):
        for _ in watch.follow(there):
            pass

    assert set(watch.agents) == {"b"}
    assert [tally[0] for tally in watch.everything.buckets.values()] == [5]


# ---- changes


def course(rng: random.Random, rate: Callable[[int], float], *, minutes: int = 60, each: int = 10) -> list[Row]:
    return [row(minute, [float(rng.random() < rate(minute)) for _ in range(each)]) for minute in range(minutes)]


def test_a_fall_of_the_scores_fires_and_a_rise_does_not() -> None:
    """From .9 to .5 after thirty minutes of ten traces each: fallen by about .4, once; before the last cycle it is old news."""
    rng = random.Random(3)
    fallen = course(rng, lambda minute: 0.9 if minute < 30 else 0.5)

    assert said(asked(fallen, drop=0.3))["trigger"] == "feedback drop"
    assert said(asked(fallen, drop=0.3))["fallen_by"] == pytest.approx(0.4, abs=0.08)
    assert asked(fallen, drop=0.6) is None
    assert asked(course(rng, lambda minute: 0.5 if minute < 30 else 0.9), drop=0.1) is None
    assert asked(fallen, last_s=START_S + 60.0 * 45, drop=0.3) is None


def test_a_fall_counts_by_what_the_newest_window_holds() -> None:
    """Half an hour at .5 and then ten minutes at .7, which is no change that a test confirms: by the last ten minutes it has fallen by .2, and by the last hour by more."""
    rng = random.Random(4)
    rows = course(rng, lambda minute: 0.9 if minute < 60 else 0.5 if minute < 90 else 0.7, minutes=100)

    assert said(asked(rows, minutes=100, drop=0.1, window_s=600.0))["fallen_by"] == pytest.approx(0.2, abs=0.1)
    assert said(asked(rows, minutes=100, drop=0.1, window_s=3600.0))["fallen_by"] > said(asked(rows, minutes=100, drop=0.1, window_s=600.0))["fallen_by"]


def test_drift_of_a_class_fires_either_way_and_says_which() -> None:
    """Two classes that change against each other: together nothing moves, and each by itself is seen."""
    rng = random.Random(6)
    up, down = course(rng, lambda minute: 0.3 if minute < 30 else 0.7), course(rng, lambda minute: 0.8 if minute < 30 else 0.3)
    watch = watched(total(up, query_class="up"), total(down, query_class="down", partition=1))

    found = said(asked(watch, drift=0.3))
    assert (found["trigger"], found["query_class"]) == ("drift", "down")
    assert found["changed_by"] == pytest.approx(-0.5, abs=0.1)
    assert said(asked(watched(total(up, query_class="up")), drift=0.3))["changed_by"] == pytest.approx(0.4, abs=0.1)
    assert asked(watch, drift=0.7) is None
    assert asked(watch, drift=0.3, last_s=START_S + 60.0 * 45) is None


def ever_fires(seed: int, *, classes: int, false_alarm: float) -> tuple[bool, bool]:
    """Whether the test of a fall, or of a drift, confirms anything in two hours of scores whose mean stays, looked at every ten minutes."""
    rng, drops, drifts = random.Random(seed), False, False
    rows = {number: course(rng, lambda _: 0.7, minutes=120, each=4) for number in range(classes)}
    for minutes in range(10, 121, 10):
        watch = watched(*(total(mine[:minutes], query_class=f"class {number}", partition=number) for number, mine in rows.items()))
        drops = drops or asked(watch, minutes=minutes, drop=1e-9, false_alarm=false_alarm) is not None
        drifts = drifts or asked(watch, minutes=minutes, drift=1e-9, false_alarm=false_alarm) is not None
    return drops, drifts


def test_noise_fires_no_more_often_than_is_stated() -> None:
    """At a stated chance of 20 % for all of five classes together, of 60 logs without a change at most 12 fire each test: above 20 they come up with probability .006."""
    found = [ever_fires(seed, classes=5, false_alarm=0.2) for seed in range(60)]

    assert sum(drops for drops, _ in found) <= 20
    assert sum(drifts for _, drifts in found) <= 20


# ---- agents


def test_agents_have_thresholds_of_their_own() -> None:
    """Of two agents the one that reaches its threshold fires, under its own id; another's own threshold outranks that of all; a name that is no file's fires nothing."""
    watch = watched(*(total([row(0, [1.0] * count)], agent=agent, partition=number) for number, (agent, count) in enumerate((("few", 3), ("many", 9), ("../x", 9)))))

    def fired(rules: Rules, last: Asked | None = None) -> list[tuple[str, str]]:
        return [(each.agent, each.cycle_id) for each in requests(watch, rules, last or Asked(), log_time_s=START_S + 3600.0)]

    each = {"*": Thresholds(traces=5)}
    assert fired(Rules(agents=each)) == [("many", "new-traces-many-0")]
    assert fired(Rules(agents=each | {"few": Thresholds(traces=2), "many": Thresholds(traces=10)})) == [("few", "new-traces-few-0")]
    assert fired(Rules(Thresholds(traces=21), each)) == [("", "new-traces-0")]  # a cycle over all is one over each
    assert fired(Rules(agents=each), Asked(agents={"many": Last(START_S + 60.0)})) == []
    assert fired(Rules(agents=each), Asked(Last(START_S + 60.0))) == []
    assert fired(Rules(agents=each), Asked(agents={"few": Last(START_S + 60.0)})) == [("many", "new-traces-many-0")]


def test_each_threshold_says_where_it_stands() -> None:
    """Also of an agent that has done nothing yet, and while a cooldown lasts."""
    watch = watched(total([row(0, [1.0] * 4)]))
    rules = Rules(Thresholds(traces=10, drop=0.1, every_s=60.0), {"coder": Thresholds(pairs=5)})

    (everywhere, coder) = readings(watch, rules, Asked(Last(START_S - 600.0)), log_time_s=START_S + 1200.0)

    assert [(each.trigger, each.value, each.threshold, each.is_crossed) for each in everywhere] == [
        ("new traces", 4, 10, False), ("feedback drop", 0.0, 0.1, False), ("time", 1800.0, 60.0, True)]  # fmt: skip
    assert {each.wait_s for each in everywhere} == {1800.0}
    assert [(each.agent, each.trigger, each.value, each.threshold) for each in coder] == [("coder", "new pairs", 0, 5)]
    assert isinstance(coder[0], Reading)


def test_settings_name_thresholds_of_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """By environment as JSON; what no agent's threshold can be is refused."""
    monkeypatch.setenv("EDDY_CYCLE_AGENTS", '{"*": {"pairs": 50}, "coder": {"drop": 0.1, "cooldown_s": 60}}')
    monkeypatch.setenv("EDDY_CYCLE_AFTER_DRIFT", "0.2")

    rules = Rules.of(load())

    assert rules.everywhere.drift == 0.2
    assert rules.of_agent("anybody") == Thresholds(pairs=50)
    assert rules.of_agent("coder") == Thresholds(drop=0.1, cooldown_s=60)
    monkeypatch.setenv("EDDY_CYCLE_AGENTS", '{"*": {"tracks": 50}}')
    with pytest.raises(ValueError, match="CYCLE_AGENTS"):
        load()
