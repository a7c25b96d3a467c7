"""Decisions and their deadlines in the fold, rule by rule: expected values are derived by hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest

from stream.fold.fold import begin_epoch
from stream.fold.totals import SUMS, Sum
from tests.unit.test_fold import DAY_MS, HOUR_MS, MIDNIGHT_MS, MINUTE_MS, Log, Owner, feedback, trace

DEADLINE_S = 60
LATE_MS = MIDNIGHT_MS + 60_001
"""The first moment at which a decision of midnight is silent."""


def decision(trace_id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"type": "decision", "trace_id": trace_id, "kind": "drawn", "query_class": "c", "arm": {"model": "m"}, "propensity": 0.5} | fields


def strict_log(**spec: Any) -> Log:
    return Log(silence="failure", silence_s=DEADLINE_S, **spec)


def tick(log: Log, at_ms: int) -> None:
    """Let the log's time go on, by a record that says nothing."""
    log.says({"type": "forget", "trace_id": "any"}, at_ms=at_ms)


def sums_of(log: Log) -> dict[str, dict[str, int]]:
    """By "class/arm/drawn" what is in the sums, over all buckets."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for query_class, arms in log.totals.items():
        for arm, buckets in arms.items():
            for bucket, sums in buckets.items():
                found[f"{query_class}/{arm}/{bucket.split('/')[2]}"].update({Sum(at).name: sums[at] for at in range(SUMS) if sums[at]})
    return {place: dict(counts) for place, counts in found.items()}


FAILED = {"COUNT": 1, "FAILURES": 1, "OUTCOME": 1}
"""One scored trace of score 0, of which no cost, latency or tokens are known."""


def test_silence_is_a_failure_of_the_arm_once_the_deadline_has_passed() -> None:
    """At the deadline a trace still comes in time; a millisecond of the log later it does not, and a crashing arm shows as one that fails."""
    log, seen = strict_log(), []

    log.says(decision())
    for at_ms in (MIDNIGHT_MS, LATE_MS - 1, LATE_MS):
        tick(log, at_ms)
        seen.append(sums_of(log))

    assert seen == [{"c/m/1": {"UNRESOLVED": 1}}] * 2 + [{"c/m/1": FAILED}]
    assert log.state.counters.silent_decisions == 1


def test_silence_counts_as_nothing_where_it_is_unknown() -> None:
    """The default: the decision is no longer waited for, and the arm's scores are those of its traces alone."""
    log = Log(silence_s=DEADLINE_S)

    log.says(decision(), trace("t2"))
    tick(log, LATE_MS)

    assert sums_of(log) == {"c/m/0": {"COUNT": 1}}
    assert log.state.counters.silent_decisions == 1


def test_trace_after_the_deadline_takes_the_failure_out_again() -> None:
    """It was slow, not dead: what remains is what the trace says, under the arm that served, with the decision's propensity."""
    log = strict_log()

    log.says(decision())
    tick(log, LATE_MS)
    log.says(trace(outcome="success", agent="react"), at_ms=LATE_MS)

    assert sums_of(log) == {"c/m|react/1": {"COUNT": 1, "SUCCESSES": 1, "OUTCOME": 1, "OUTCOME_MICRO": 10**6, "OUTCOME_MICRO_SQ": 10**12}}
    assert (log.state.counters.late_traces, log.state.counters.waiting) == (1, 0)


def test_trace_in_time_leaves_nothing_of_its_decision() -> None:
    """The deadline passes over a decision that was answered."""
    log = strict_log()

    log.says(decision(), trace())
    tick(log, LATE_MS)

    assert sums_of(log) == {"c/m/1": {"COUNT": 1}}
    assert (log.state.counters.silent_decisions, log.state.counters.late_traces, len(log.state.index.pending)) == (0, 0, 0)


def test_rating_of_a_silent_decision_replaces_its_failure() -> None:
    """A person rates the request that crashed: before the deadline it waits, after it the best source counts, as for any trace."""
    log = strict_log()

    log.says(decision("t1"), feedback("t1", score=0.25), decision("t2", kind="sticky"))
    before = sums_of(log)
    tick(log, LATE_MS)
    log.says(feedback("t2", score=0.5, rater_kind="judge"), at_ms=LATE_MS)

    assert before == {"c/m/1": {"UNRESOLVED": 1}, "c/m/0": {"UNRESOLVED": 1}}
    assert sums_of(log) == {
        "c/m/1": {"COUNT": 1, "FAILURES": 1, "HUMAN": 1, "HUMAN_MICRO": 250_000, "HUMAN_MICRO_SQ": 250_000**2},
        "c/m/0": {"COUNT": 1, "FAILURES": 1, "JUDGE": 1, "JUDGE_MICRO": 500_000, "JUDGE_MICRO_SQ": 500_000**2},
    }


def test_rating_of_a_silent_decision_is_no_pair_with_its_failure() -> None:
    """Pairs say how outcomes agree with people; silence is nobody's word, and a late trace would take it back."""
    log = strict_log()

    log.says(decision())
    tick(log, LATE_MS)
    log.says(feedback(score=1.0), at_ms=LATE_MS)
    silent = log.state.canonical()["pairs"]
    log.says(trace(outcome="success"), at_ms=LATE_MS)

    assert (silent, [sums[0] for sums in log.state.canonical()["pairs"].values()]) == ({}, [1])


def test_silence_earns_nothing_where_the_reward_is_not_quality() -> None:
    """An arm that crashes would look good again if its silence had no reward; the trace that comes late takes the 0 along."""
    log = strict_log(reward="seed")

    log.says(decision())
    tick(log, LATE_MS)
    silent = rewards_of(log)
    log.says(trace(), at_ms=LATE_MS)

    assert (silent, rewards_of(log)) == ([1, 0], [0, 0])


def rewards_of(log: Log) -> list[int]:
    """How many have a reward, and the sum of it."""
    rows = [sums for arms in log.totals.values() for buckets in arms.values() for sums in buckets.values()]
    return [sum(row[place] for row in rows) for place in (Sum.REWARD, Sum.REWARD_MICRO)]


@pytest.mark.parametrize("kind", ["sticky", "fallback", "pinned"])
def test_silence_after_a_choice_that_was_no_draw_is_held_against_the_arm_as_confounded(kind: str) -> None:
    """A session's arm that crashes fails too, but nobody drew it: no propensity may be claimed."""
    log = strict_log()

    log.says(decision(kind=kind, propensity=None))
    tick(log, LATE_MS)

    assert sums_of(log) == {"c/m/0": FAILED}


def test_second_decision_of_a_trace_changes_nothing() -> None:
    """A router's retry publishes it twice, perhaps with another arm: the first in the log stands, with its deadline."""
    log = strict_log()

    log.says(decision(), decision(arm={"model": "other"}))
    log.says(decision(), at_ms=LATE_MS)
    log.says(trace(), decision(), at_ms=LATE_MS)
    tick(log, LATE_MS + DAY_MS)

    assert sums_of(log) == {"c/m/1": {"COUNT": 1}}


def test_decision_that_leaves_the_horizon_is_unmatched_and_no_failure() -> None:
    """What pushed it out says nothing of its arm; one that was silent before it left stays a failure, since its trace would now be counted as a new one."""
    log = strict_log(horizon=2)

    log.says(decision("t1"), trace("t2"), trace("t3"))
    log.says(decision("t4"), at_ms=MIDNIGHT_MS)
    tick(log, LATE_MS)
    log.says(trace("t5"), trace("t6"), at_ms=LATE_MS)

    assert (log.state.counters.unmatched_decisions, log.state.counters.silent_decisions) == (2, 1)
    assert {place: sums["COUNT"] for place, sums in sums_of(log).items()} == {"c/m/0": 4, "c/m/1": 1}


def test_silence_counts_in_the_bucket_that_holds_the_decisions_minute_by_then() -> None:
    """The deadline of 90 minutes passes when the minute has been merged into its hour; one of 5 days when it has been dropped."""
    hours = Log(silence="failure", silence_s=5_400)
    hours.says(decision())
    tick(hours, MIDNIGHT_MS + 2 * HOUR_MS - 1)
    days = Log(silence="failure", silence_s=5 * 86_400)
    days.says(decision())
    for day in range(1, 7):
        tick(days, MIDNIGHT_MS + day * DAY_MS)

    ((bucket, sums),) = hours.totals["c"]["m"].items()
    assert (bucket, sums[Sum.FAILURES]) == (f"3600/{MIDNIGHT_MS // 1000}/1", 1)
    assert (days.totals, days.state.counters.silent_decisions, list(days.state.all_classes())) == ({}, 1, [])


def test_decision_for_an_arm_beyond_the_caps_is_held_against_the_overflow() -> None:
    """As its trace would be; the counters of overflow count traces alone."""
    log = strict_log(max_arms=1)

    log.says(decision("t1"), decision("t2", arm={"model": "n"}))
    tick(log, LATE_MS)

    assert sums_of(log) == {"c/m/1": FAILED, "c/~overflow/1": FAILED}
    assert log.state.counters.overflow_arms == 0


def test_decision_that_names_no_class_waits_and_counts_as_nothing() -> None:
    """There is no class to hold it against; its trace still gets the propensity."""
    log = strict_log()

    log.says(decision(query_class=""))
    tick(log, LATE_MS)
    silent = sums_of(log)
    log.says(trace(), at_ms=LATE_MS)

    assert (silent, sums_of(log)) == ({}, {"c/m/1": {"COUNT": 1}})


def test_decision_for_a_class_of_a_reserved_name_is_refused() -> None:
    """`*` stands for every class: nobody may be counted under it."""
    (refused,) = strict_log().says(decision(query_class="*"))

    assert refused.reason == "bad_name"


def test_log_made_anew_keeps_the_deadlines_of_the_old_one() -> None:
    """The partition's time goes on over an epoch, and so does waiting."""
    log = strict_log()
    log.says(decision())

    begin_epoch(log.state, 0)
    log.offset = 0
    tick(log, LATE_MS)

    assert sums_of(log) == {"c/m/1": FAILED}


def test_many_decisions_fall_silent_at_one_record() -> None:
    """A partition that was quiet for a day catches up at its next record, whatever its kind: 5,000 deadlines within the chunk that brings it."""
    log = strict_log(horizon=10_000)

    log.says(*[decision(f"t{number}") for number in range(5_000)])
    log.says(*[trace(f"t{number}", outcome="success") for number in range(10)], at_ms=LATE_MS)

    assert sums_of(log)["c/m/1"]["FAILURES"] == 4_990
    assert (log.state.counters.silent_decisions, log.state.counters.late_traces) == (5_000, 10)


@pytest.mark.parametrize("checkpoint_at_ms", [MIDNIGHT_MS, LATE_MS - 1, LATE_MS])
def test_recovered_state_waits_on(checkpoint_at_ms: int) -> None:
    """A checkpoint before the deadline, right at it or after it: what is recovered goes on as if nobody had died."""
    log = strict_log()
    owner = Owner(log)
    log.says(decision("t1"), decision("t2"))
    owner.checkpoint()
    tick(log, checkpoint_at_ms)
    owner.checkpoint()

    log.state = owner.recovered()
    log.says(trace("t1"), at_ms=LATE_MS)
    tick(log, LATE_MS + MINUTE_MS)

    assert sums_of(log) == {"c/m/1": FAILED | {"COUNT": 2}}
    assert (log.state.counters.silent_decisions, log.state.counters.late_traces) == (2, 1)
