"""The fold's rules, one by one: expected values are derived by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream.errors import CheckpointGapError, LogGapError
from stream.fold.checkpoint import Changelog, checkpoint_end, recover, write_checkpoint
from stream.fold.fold import Misplaced, Refused, begin_epoch, fold
from stream.fold.ratings import MAX_RATERS
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.fold.totals import Sum
from stream.reading.partitioning import partition_of
from stream.reading.query_class import classify_query
from stream.settings import Settings
from tests.logs import START_MS, LogRecord, small_spec

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
MIDNIGHT_MS = START_MS - START_MS % DAY_MS


class Log:
    """A log and the fold of it."""

    def __init__(self, **spec: Any) -> None:
        self.state = PartitionState(0, small_spec(**spec))
        self.offset = 0

    def says(self, *bodies: dict[str, Any], at_ms: int = MIDNIGHT_MS) -> list[Any]:
        records = [LogRecord(self.offset + at, at_ms, body["trace_id"].encode(), json.dumps(body).encode()) for at, body in enumerate(bodies)]
        self.offset += len(bodies)
        return fold(self.state, records, classify_query)

    @property
    def totals(self) -> Any:
        return self.state.canonical()["totals"]


def trace(trace_id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"trace_id": trace_id, "model": "m", "query_class": "c"} | fields


def feedback(trace_id: str = "t1", score: float = 1.0, **fields: Any) -> dict[str, Any]:
    return {"type": "feedback", "trace_id": trace_id, "rater": "r", "rater_kind": "human", "score": score, "given_at": 1.0} | fields


def score_of(log: Log) -> dict[str, int]:
    """The sources of scores in the only bucket: their micro-scores by name."""
    ((sums,),) = (buckets.values() for buckets in log.totals["c"].values())
    return {source.name: sums[source + 1] for source in (Sum.HUMAN, Sum.JUDGE, Sum.PROGRAM, Sum.OUTCOME) if sums[source]}


# ---- pairs


def pairs_of(log: Log) -> dict[str, list[int]]:
    """Sums by source of the only day, scores in tenths: traces, people's, the source's, products, squares."""
    scale = [1, 100_000, 100_000, 10**10, 10**10]
    return {place.partition("/")[2]: [amount // by for amount, by in zip(sums, scale, strict=True)] for place, sums in log.state.canonical()["pairs"].items()}


def test_pair_is_a_person_and_another_source_on_one_trace() -> None:
    """A success that a judge calls .5 and a person .8: judge (1) 8, 5, 40, 25; outcome (3) 8, 10, 80, 100; no program spoke."""
    log = Log()

    log.says(trace(outcome="success"), feedback(score=0.5, rater="j", rater_kind="judge"))
    assert pairs_of(log) == {}
    log.says(feedback(score=0.8))

    assert pairs_of(log) == {"1": [1, 8, 5, 40, 25], "3": [1, 8, 10, 80, 100]}


def test_pair_follows_its_raters_last_words() -> None:
    """The person goes from .8 to .3, then turns out to be a judge: the pair moves, and is gone to the last integer."""
    log = Log()
    log.says(trace(outcome="failure"), feedback(score=0.8))
    log.says(feedback(score=0.3, given_at=2.0))
    assert pairs_of(log) == {"3": [1, 3, 0, 0, 0]}

    log.says(feedback(score=0.3, given_at=3.0, rater_kind="judge"))

    assert pairs_of(log) == {}


def test_pair_that_came_before_its_trace_counts_with_it() -> None:
    """Two raters wait for a trace that brings the program's own .2: 1 trace, people's 10, then judge 4 and program 2."""
    log = Log()

    log.says(feedback(score=1.0), feedback(score=0.4, rater="j", rater_kind="judge"), trace(feedback=0.2))

    assert pairs_of(log) == {"1": [1, 10, 4, 40, 16], "2": [1, 10, 2, 20, 4]}


def test_pair_alone_lets_its_class_count_as_changed() -> None:
    """A judge who speaks after a person changes no score: what he said must be published all the same."""
    log = Log()
    log.says(trace(), feedback(score=1.0))
    log.state.take_changed_classes()

    log.says(feedback(score=0.5, rater="j", rater_kind="judge"))

    assert log.state.take_changed_classes() == {"c"}
    assert log.state.statistics("c").pairs == ((MIDNIGHT_MS // 1000, 1, 1, 10**6, 500_000, 5 * 10**11, 25 * 10**10),)


def test_pairs_leave_with_their_day_and_survive_a_checkpoint() -> None:
    """Two days are kept: on the second day those of the first stand, on the third they have left, and a first rating of such a trace joins none."""
    log = Log()
    log.says(trace(outcome="success"), feedback(score=1.0), trace("late", outcome="success"))
    log.says(trace("t2"), at_ms=MIDNIGHT_MS + DAY_MS)
    assert pairs_of(log) == {"3": [1, 10, 10, 100, 100]}
    found, _ = recover(dict(write_checkpoint(log.state, Changelog(horizon=40), checkpoint_id=bytes(16), full=True).parts), number=0, spec=log.state.spec)
    assert found.canonical() == log.state.canonical()

    log.says(trace("t3"), at_ms=MIDNIGHT_MS + 2 * DAY_MS)
    log.says(feedback("late"), feedback(score=0.5, given_at=9.0), at_ms=MIDNIGHT_MS + 2 * DAY_MS)

    assert pairs_of(log) == {}


# ---- scores


def test_score_stands_under_the_best_source_alone() -> None:
    """Outcome, then the trace's own rating, then programs, judges, humans: each takes the score away from the one before."""
    log = Log()
    seen = []

    for said in (
        trace(outcome="success", feedback=0.25),
        feedback(rater="p", rater_kind="program", score=0.5),
        feedback(rater="j", rater_kind="judge", score=0.75),
        feedback(rater="h", score=0.0),
    ):
        log.says(said)
        seen.append(score_of(log))

    assert seen == [{"PROGRAM": 250_000}, {"PROGRAM": 500_000}, {"JUDGE": 750_000}, {"HUMAN": 0}]


def test_score_of_several_raters_is_the_floor_of_their_mean() -> None:
    """(1,000,000 + 0 + 0) / 3 = 333,333.3…: an integer, whatever the order."""
    log = Log()

    log.says(trace(), *[feedback(rater=rater, score=score) for rater, score in (("a", 1), ("b", 0), ("c", 0))])

    assert score_of(log) == {"HUMAN": 333_333}


def test_feedback_given_later_wins_over_one_that_comes_later() -> None:
    """The register is ordered by `given_at`, so that a late copy cannot undo a revision; ties go to the greater score."""
    log = Log()

    log.says(trace(), feedback(score=0.5, given_at=20.0), feedback(score=1.0, given_at=10.0), feedback(score=0.75, given_at=20.0))

    assert score_of(log) == {"HUMAN": 750_000}
    assert log.state.counters.stale_feedback == 1


def test_feedback_from_the_future_is_refused() -> None:
    """Ten minutes ahead of the log's time is a wrong clock, and would win over every revision."""
    log, now_s = Log(), MIDNIGHT_MS / 1000

    ahead = log.says(trace(), feedback(given_at=now_s + 600), feedback(given_at=now_s + 600.01))

    assert [(refused.offset, refused.reason) for refused in ahead] == [(2, "future")]
    assert (log.state.counters.feedback, log.state.counters.refused) == (1, 1)


def test_feedback_after_days_of_silence_is_no_future() -> None:
    """Over a weekend the log's time falls behind by more than the day that one record may move it: the record's own time counts too."""
    log, monday_s = Log(), MIDNIGHT_MS / 1000 + 3 * 86_400

    log.says(trace())
    refused = log.says(trace("t2"), feedback("t2", given_at=monday_s + 5), at_ms=MIDNIGHT_MS + 3 * 86_400_000)

    assert (refused, log.state.counters.feedback) == ([], 1)


def test_feedback_of_too_many_raters_is_counted_and_ignored() -> None:
    """One trace with a million raters must not grow the index without bound."""
    log = Log()

    log.says(trace(), *[feedback(rater=f"r{number}") for number in range(MAX_RATERS + 3)])

    assert log.state.counters.overflow_raters == 3


# ---- the join


def test_trace_published_twice_counts_once() -> None:
    """P2: the first in the log counts, whatever the second says."""
    log = Log()

    log.says(trace(cost_usd=1), trace(cost_usd=5))

    assert (log.state.counters.traces, log.state.counters.duplicates) == (1, 1)


def test_trace_beyond_the_horizon_counts_again() -> None:
    """The horizon is 3 entries: the fourth pushes the first out, and its copy cannot be known."""
    log = Log(horizon=3)

    log.says(*[trace(f"t{number}") for number in (1, 2, 3, 1, 4, 1)])

    assert (log.state.counters.traces, log.state.counters.duplicates) == (5, 1)


def test_feedback_that_never_meets_its_trace_is_counted_when_it_leaves() -> None:
    """It waits as an entry of its own, and leaves with the horizon."""
    log = Log(horizon=2)

    log.says(feedback("early"), feedback("lost"))
    log.says(trace("early"), trace("t2"), trace("t3"))

    assert (log.state.counters.waiting, log.state.counters.unmatched_feedback) == (0, 1)


def test_decision_before_its_trace_lends_its_propensity() -> None:
    """Only the first decision in the log counts, only a draw of the arm that served, and only where the trace brought none."""
    log = Log()
    draw = {"type": "decision", "kind": "drawn", "arm": {"model": "m"}, "propensity": 0.5}
    own = {"kind": "sticky", "arm": {"model": "m"}}

    log.says(draw | {"trace_id": "t1"}, draw | {"trace_id": "t2", "arm": {"model": "other"}}, draw | {"trace_id": "t2"}, draw | {"trace_id": "t3"})
    log.says(trace("t1"), trace("t2"), trace("t3", decision=own), draw | {"trace_id": "t3"})

    assert {key: sums[Sum.COUNT] for key, sums in log.totals["c"]["m"].items()} == {f"60/{MIDNIGHT_MS // 1000}/0": 2, f"60/{MIDNIGHT_MS // 1000}/1": 1}
    assert log.state.counters.decisions == 5


# ---- time


def test_totals_move_from_minutes_to_hours_to_days_and_out() -> None:
    """Kept are 3 minutes, 2 hours and 2 days; a datum is in one bucket at a time, and its class leaves with its last one."""
    log, start = Log(), MIDNIGHT_MS // 1000
    log.says(trace())
    where = {}

    for later_ms in (0, 2 * MINUTE_MS, 3 * MINUTE_MS, 2 * HOUR_MS - 1, 2 * HOUR_MS, 2 * DAY_MS - 1, 2 * DAY_MS):
        log.says(trace("t1"), at_ms=MIDNIGHT_MS + later_ms)
        where[later_ms] = sorted(key for arms in log.totals.values() for buckets in arms.values() for key in buckets)

    assert list(where.values()) == [[f"60/{start}/0"], [f"60/{start}/0"], [f"3600/{start}/0"], [f"3600/{start}/0"], [f"86400/{start}/0"], [f"86400/{start}/0"], []]
    assert list(log.state.all_classes()) == []
    assert "c" in log.state.take_changed_classes()


def test_feedback_changes_the_bucket_that_now_holds_its_trace_or_is_late() -> None:
    """An hour later the trace's minute has been merged into its hour; three days later it has been dropped."""
    log = Log()
    log.says(trace())

    log.says(feedback(score=0.5), at_ms=MIDNIGHT_MS + HOUR_MS)
    after_an_hour = score_of(log)
    for days in (1, 2, 3):
        log.says(feedback(score=1.0, given_at=2.0 + days), at_ms=MIDNIGHT_MS + days * DAY_MS)

    assert after_an_hour == {"HUMAN": 500_000}
    assert log.state.counters.late_feedback == 2


def test_log_time_never_goes_back_and_never_jumps() -> None:
    """A stamp of 2100 moves the log's time by a day; one of 1970 moves nothing."""
    log = Log()

    times = []
    for at_ms in (MIDNIGHT_MS, 4_102_444_800_000, 0, -1):
        log.says(trace(), at_ms=at_ms)
        times.append(log.state.log_time_ms - MIDNIGHT_MS)

    assert times == [0, DAY_MS, DAY_MS, DAY_MS]


def test_first_record_without_a_stamp_is_folded() -> None:
    """A producer of old may send -1: the log's time begins at 0."""
    log = Log()

    log.says(trace(), at_ms=-1)

    assert log.state.log_time_ms == 0
    assert log.state.counters.traces == 1


# ---- caps


def test_classes_and_arms_beyond_their_caps_go_to_the_overflow_entry() -> None:
    """Caps of 2 classes and 1 arm: what is beyond is counted under the overflow, and nothing is lost."""
    log = Log(max_classes=2, max_arms=1, horizon=1_000)

    log.says(*[trace(f"t{number}", query_class=f"c{number % 5}", model=f"m{number % 2}") for number in range(100)])

    assert sorted(log.totals) == ["c0", "c1", "~overflow"]
    assert sorted(log.totals["c0"]) == ["m0", "~overflow"]
    assert sum(sums[Sum.COUNT] for arms in log.totals.values() for buckets in arms.values() for sums in buckets.values()) == 100
    assert (log.state.counters.overflow_classes, log.state.counters.overflow_arms) == (60, 50)


# ---- offsets, holes, epochs, elsewhere


def test_chunk_that_does_not_follow_is_an_error_until_the_hole_is_skipped() -> None:
    """A gap that the log does not have means that records were lost on the way."""
    log = Log()
    log.says(trace())
    log.offset = 5

    with pytest.raises(LogGapError, match="folded up to offset 0 and is given 5"):
        log.says(trace("t2"))
    log.state.skip_hole(5, lost=True)
    log.offset = 5
    log.says(trace("t2"))

    assert (log.state.offset, log.state.counters.lost, log.state.counters.traces) == (5, 4, 2)


def test_log_made_anew_is_noticed_and_numbered_on() -> None:
    """The record at the state's offset is not the one remembered: the new log's offset 0 is numbered right after the old one's last."""
    log = Log()
    log.says(trace("t1"), trace("t2"))
    remembered, other = json.dumps(trace("t2")).encode(), json.dumps(trace("t9")).encode()

    assert log.state.recognises(remembered, MIDNIGHT_MS)
    assert not log.state.recognises(other, MIDNIGHT_MS)
    begin_epoch(log.state, 0)
    log.offset = 0
    log.says(trace("t2"), trace("t3"))

    assert (log.state.offset, log.state.position, log.state.epoch, log.state.counters.epochs) == (3, 2, 1, 1)
    assert (log.state.counters.traces, log.state.counters.duplicates) == (3, 1)


def test_records_under_a_wrong_key_or_in_a_wrong_partition_go_to_the_right_one() -> None:
    """They are forwarded, not folded: their copy in the right partition is."""
    spec = small_spec(partitions=4)
    here = next(f"t{number}" for number in range(100) if partition_of(f"t{number}".encode(), 4) == 0)
    there = next(f"t{number}" for number in range(100) if partition_of(f"t{number}".encode(), 4) == 3)
    records = [LogRecord(0, 1, None, f'{{"trace_id": "{here}"}}'.encode()), LogRecord(1, 1, there.encode(), f'{{"trace_id": "{there}"}}'.encode())]

    elsewhere = fold(PartitionState(0, spec), records, classify_query)

    assert elsewhere == [Misplaced(0, here.encode(), 0, "wrong_key"), Misplaced(1, there.encode(), 3, "wrong_partition")]


def test_record_on_which_the_classifier_raises_changes_nothing_else() -> None:
    """P4: refused as an internal error; the partition moves on."""
    state = PartitionState(0, small_spec())
    records = [LogRecord(offset, 1, b"t1", b'{"trace_id": "t1"}') for offset in range(2)]

    elsewhere = fold(state, records, lambda query: str(1 // 0))

    assert [type(one) for one in elsewhere] == [Refused, Refused]
    assert (state.offset, state.counters.traces, len(state.index)) == (1, 0, 0)


def test_statistics_are_the_running_total_of_one_class() -> None:
    """One row a bucket: width, start, drawn, then the sums; a class that is not there has no arms."""
    log = Log()
    log.says(trace(cost_usd=2))

    statistics = log.state.statistics("c")

    assert (statistics.fold, statistics.offset, statistics.query_class) == (log.state.spec.id, 0, "c")
    assert statistics.arms[0].buckets == ((60, MIDNIGHT_MS // 1000, 0, 1, 1, 2_000_000_000, *[0] * 19),)
    assert log.state.statistics("other").arms == ()


def test_fold_id_tells_folds_apart() -> None:
    """Whatever makes two folds differ makes another application; the same makes the same."""
    spec = FoldSpec.of(Settings(bootstrap="anywhere:1"))

    assert spec.id == FoldSpec.of(Settings(min_evidence=99)).id
    assert spec.id != FoldSpec.of(Settings(horizon=9)).id
    assert spec.id != FoldSpec.of(Settings(tenants="apart")).id
    assert len(spec.id) == 12


# ---- checkpoints


class Owner:
    """Writes checkpoints of a log into a dict that stands for its changelog."""

    def __init__(self, log: Log) -> None:
        self.log, self.parts = log, dict[bytes, bytes]()
        self.changelog, self.count = Changelog(horizon=log.state.spec.horizon), 0

    def checkpoint(self) -> None:
        self.count += 1
        made = write_checkpoint(self.log.state, self.changelog, checkpoint_id=self.count.to_bytes(16), full=self.changelog.full_is_due(self.log.state))
        self.parts |= made.parts
        for key in self.changelog.acknowledged(made):
            del self.parts[key]

    def recovered(self) -> PartitionState:
        return recover(self.parts, number=0, spec=self.log.state.spec)[0]


def test_slow_stream_stays_in_few_parts() -> None:
    """One trace a checkpoint for 3,000 checkpoints: merged by eights, so that recovery reads tens of parts and not thousands."""
    log = Log(horizon=2_000)
    owner = Owner(log)

    for number in range(3_000):
        log.says(trace(f"t{number}"), *([feedback(f"t{number - 5}", given_at=float(number))] if number % 3 == 0 else []))
        owner.checkpoint()

    assert len(owner.parts) < 110
    assert len(owner.changelog) == len(owner.parts)
    assert owner.recovered().canonical() == log.state.canonical()


def test_recovery_goes_on_across_an_epoch() -> None:
    """A log made anew forces a full checkpoint; what was learned before it is still there."""
    log = Log()
    owner = Owner(log)
    log.says(trace("t1"), trace("t2"))
    owner.checkpoint()

    begin_epoch(log.state, 0)
    log.offset = 0
    log.says(trace("t3"), trace("t1"))
    owner.checkpoint()

    assert owner.recovered().canonical() == log.state.canonical()
    assert checkpoint_end(owner.parts) == 3


def test_owners_that_begin_an_epoch_at_different_offsets_are_never_mixed() -> None:
    """A zombie was one record behind when the log was made anew, so its offsets mean other records from then on: recovery takes one owner's state, whole."""
    zombie, owner = Owner(Log()), Owner(Log())
    owner.count = 100  # ids of their own
    zombie.log.says(trace("t1"), trace("t2"))
    owner.log.says(trace("t1"), trace("t2"), trace("t3"))
    for each in (zombie, owner):
        each.checkpoint()
        begin_epoch(each.log.state, 0)
        each.log.offset = 0

    zombie.log.says(trace("t4"), trace("t5"))  # logical 2 and 3
    zombie.checkpoint()
    owner.log.says(trace("t4"), trace("t5"))  # logical 3 and 4
    owner.checkpoint()
    zombie.log.says(trace("t6"), trace("t7"))  # logical 4 and 5: beyond the owner's, on a base that the owner's end covers
    zombie.checkpoint()

    recovered = recover(zombie.parts | owner.parts, number=0, spec=owner.log.state.spec)[0]
    assert recovered.canonical() == owner.log.state.canonical()


def test_changelog_that_lacks_what_a_delta_stands_on_is_a_gap() -> None:
    """An older state must not be taken instead: what it needs may be gone."""
    log = Log()
    owner = Owner(log)
    for number in range(3):
        log.says(trace(f"t{number}"))
        owner.checkpoint()
    without_second = {key: value for key, value in owner.parts.items() if not key.startswith(b"\0\0" + (1).to_bytes(8))}

    with pytest.raises(CheckpointGapError, match="stands on offset 1"):
        recover(without_second, number=0, spec=log.state.spec)


def test_empty_changelog_gives_a_fresh_state() -> None:
    """The first owner of a partition finds nothing."""
    state, changelog = recover({}, number=3, spec=small_spec())

    assert (state.number, state.offset, state.position, changelog.durable) == (3, -1, 0, -1)
    assert checkpoint_end({}) is None
