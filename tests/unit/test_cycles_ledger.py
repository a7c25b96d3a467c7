"""The ledger of learning cycles: one truth, whatever is read twice and wherever a process ends."""

from __future__ import annotations

import json
import sqlite3
from itertools import pairwise, product
from pathlib import Path

import msgspec
import pytest

from stream.cycles.entries import Message
from stream.cycles.inbox import Words, read_cycle_record, take_cycle_record, take_job
from stream.cycles.ledger import Ledger
from stream.cycles.states import ENDS, STEPS, Standing, State, is_transition_valid
from stream.errors import CycleTransitionError, LedgerFormatError
from stream.records import CycleFinished, CycleOrder, CycleRequested, CycleStep, Override, TrainingFinished


class Clock:
    """Says the time that it was told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock):
    with Ledger(tmp_path / "cycles.sqlite", clock) as opened:
        yield opened


def asked(cycle_id: str = "c1", **fields) -> CycleRequested:
    return CycleRequested(**{"cycle_id": cycle_id, "trigger": "manual", "requested_at": 1.0, **fields})


def go_to(ledger: Ledger, cycle_id: str, state: State) -> None:
    """Take a cycle through its steps up to a state."""
    ledger.request(asked(cycle_id))
    for step in STEPS[: STEPS.index(state) + 1]:
        ledger.advance(cycle_id, step, {})


def sent(ledger: Ledger) -> list[dict]:
    return [json.loads(message.value) for message in ledger.unsent()]


def test_states_follow_each_other_in_the_order_of_the_eight_steps() -> None:
    """Nothing but the next step, an end that is due, or waiting for a job follows: checked against the list written out by hand."""
    by_hand = {(source, target) for source, target in pairwise((State.REQUESTED, *STEPS))}
    by_hand |= {(State.CONFIGURED, State.WAITING), (State.WAITING, State.TRAINED), (State.CHECKED, State.SKIPPED)}
    by_hand |= {(State.SETTLED, end) for end in (State.COMPLETED, State.REJECTED, State.STAGED)}
    by_hand |= {(source, end) for source in (State.REQUESTED, *STEPS[:-1], State.WAITING) for end in (State.CANCELLED, State.ABORTED)}

    assert {(source, target) for source, target in product(State, State) if is_transition_valid(source, target)} == by_hand


def test_states_of_cycles_and_candidates_are_not_mixed_up() -> None:
    """Both kinds have a `staged`: a cycle that ended so does not become accepted, as a candidate does."""
    assert is_transition_valid(Standing.STAGED, Standing.ACCEPTED)
    assert not is_transition_valid(State.STAGED, State("completed"))
    assert all(not is_transition_valid(end, target) for end in ENDS for target in State)


def test_request_read_twice_is_one_cycle(ledger: Ledger) -> None:
    """The topic is read from its start at every assignment."""
    assert ledger.request(asked(trigger="new_traces"))
    ledger.advance("c1", State.MINED, {})
    assert not ledger.request(asked(trigger="new_traces"))

    assert [(cycle.cycle_id, cycle.state) for cycle in ledger.cycles()] == [("c1", State.MINED)]


def test_step_out_of_order_is_refused_and_leaves_nothing(ledger: Ledger) -> None:
    """Two processes on one cycle would show so: the second finds that its step does not follow."""
    ledger.request(asked())
    with pytest.raises(CycleTransitionError, match="c1 is requested and was to become measured"):
        ledger.advance("c1", State.MEASURED, {}, marks={"cursor": "9"})

    assert ledger.unsent() == []
    assert ledger.mark("cursor", "") == ""


def test_step_and_its_announcement_are_one_transaction(tmp_path: Path, clock: Clock) -> None:
    """What a crash leaves is what a second connection sees: before the commit neither of the two, after it both."""
    path = tmp_path / "cycles.sqlite"
    with Ledger(path, clock) as ledger, Ledger(path, clock) as other:
        ledger.request(asked())
        ledger.advance("c1", State.MINED, {"said": "3 traces"}, kept={"until": 7}, marks={"cursor": "7"})

        (told,) = sent(other)
        assert (told["type"], told["cycle_id"], told["step"], told["number"], told["detail"]) == ("step", "c1", "mined", 1, {"said": "3 traces"})
        assert other.kept("c1", State.MINED) == {"until": 7}
        assert other.mark("cursor", "") == "7"
        assert told["learner"] == ledger.learner == other.learner


def test_what_later_steps_need_goes_when_the_cycle_ends(ledger: Ledger) -> None:
    """Scores of every sample would pile up else; what was told of a step stays."""
    ledger.request(asked())
    ledger.advance("c1", State.MINED, {"said": "x"}, kept={"large": 1})
    ledger.advance("c1", State.CANCELLED, {})

    assert ledger.kept("c1", State.MINED) is None
    assert ledger.detail("c1", State.MINED) == {"said": "x"}


def test_oldest_cycle_that_can_go_on_is_next(ledger: Ledger, clock: Clock) -> None:
    """One that waits for its job holds nobody up, and goes on when the job has ended or its time is over."""
    go_to(ledger, "c1", State.CONFIGURED)
    ledger.request(asked("c2"))
    ledger.await_job("c1", "j1", 2000.0, Message(0, "eddy.training-jobs", "j1", "{}"))
    ledger.advance("c1", State.WAITING, {})
    assert ledger.runnable().cycle_id == "c2"

    clock.now = 2000.0
    assert ledger.runnable().cycle_id == "c1"

    clock.now = 1500.0
    take_job(ledger, msgspec.json.encode(TrainingFinished(job_id="j1", trainer="t", status="failed", detail={"why": "oom"})))
    take_job(ledger, msgspec.json.encode(TrainingFinished(job_id="j1", trainer="t", status="succeeded")))
    assert ledger.runnable().cycle_id == "c1"
    assert ledger.job("c1") == {"status": "failed", "detail": {"why": "oom"}}


def test_training_job_is_sent_once_however_often_its_step_is_done(ledger: Ledger) -> None:
    """The step may be done again after a crash; a second job would train a second adapter."""
    go_to(ledger, "c1", State.CONFIGURED)
    before = len(ledger.unsent())
    for deadline_at in (2000.0, 3000.0):
        ledger.await_job("c1", "j1", deadline_at, Message(0, "eddy.training-jobs", "j1", "{}"))

    assert [message.topic for message in ledger.unsent()[before:]] == ["eddy.training-jobs"]


def test_candidate_is_announced_when_what_it_sends_was_acknowledged(ledger: Ledger) -> None:
    """Intent, live, announced: each noted before the next, and none left out."""
    go_to(ledger, "c1", State.EVALUATED)
    ledger.stage("c1", "config/react", {"toml": "a = 1"})
    ledger.stage("c1", "config/react", {"toml": "a = 2"})
    (candidate,) = ledger.candidates("c1")
    assert candidate.detail == {"toml": "a = 1"}
    assert candidate.subject == "react"
    with pytest.raises(CycleTransitionError):
        ledger.move(candidate, Standing.PROMOTED)
    ledger.move(candidate, Standing.ACCEPTED, {"why": "better"}, marks={"lifetime": "[1]"})
    ledger.move(candidate, Standing.PROMOTING)
    assert ledger.has_words()
    ledger.move(candidate, Standing.PROMOTED, {"version": 3}, send=Message(0, "eddy.agent-configs", "react", "{}"))
    assert not ledger.has_words()
    messages = ledger.unsent()
    ledger.sent(messages[-2].id)
    assert ledger.candidates("c1")[0].standing is Standing.PROMOTED

    ledger.sent(messages[-1].id)

    (announced,) = ledger.candidates("c1")
    assert announced.standing is Standing.ANNOUNCED
    assert announced.detail == {"toml": "a = 1", "why": "better", "version": 3}
    assert ledger.unsent() == []


def test_persons_word_counts_once(ledger: Ledger) -> None:
    """An approval from before a candidate was held, read again after a restart, must not approve what nobody has seen."""
    go_to(ledger, "c1", State.EVALUATED)
    early = CycleOrder(cycle_id="c1", order="approve", given_at=5.0)
    assert ledger.order(early)
    ledger.stage("c1", "config/react", {})
    (candidate,) = ledger.candidates("c1")
    ledger.move(candidate, Standing.HELD)

    assert not ledger.order(early)
    assert ledger.candidates("c1")[0].word == ""
    assert ledger.order(CycleOrder(cycle_id="c1", order="approve", candidate="config/other", given_at=6.0))
    assert not ledger.has_words()
    assert ledger.order(CycleOrder(cycle_id="c1", order="approve", candidate="config/react", given_at=7.0))
    assert ledger.candidates("c1")[0].word == "approve"
    assert ledger.has_words()


def test_cycle_of_another_learner_is_not_done_again(ledger: Ledger) -> None:
    """A second learner takes over the topic with a ledger of its own: what was ended there is over, what was begun there is known to be."""
    for cycle_id in ("ended", "begun", "new"):
        take_cycle_record(ledger, asked(cycle_id))
    take_cycle_record(ledger, CycleFinished(cycle_id="ended", status="completed", at=1.0, learner="other"))
    take_cycle_record(ledger, CycleStep(cycle_id="begun", step="mined", at=1.0, number=1, learner="other"))
    take_cycle_record(ledger, CycleStep(cycle_id="new", step="mined", at=1.0, number=1, learner=ledger.learner))

    assert {cycle.cycle_id: (cycle.state, cycle.elsewhere) for cycle in ledger.cycles()} == {
        "ended": (State.ABORTED, ""),
        "begun": (State.REQUESTED, "other"),
        "new": (State.REQUESTED, ""),
    }


@pytest.mark.parametrize("value", [None, b"", b"not json", b"\xff", b'{"type":"later"}', b'{"type":"requested"}', b'{"type":"order","cycle_id":"c","order":"explode"}', b"[1]"])
def test_record_that_cannot_be_read_is_left_out(value: bytes | None) -> None:
    """Anyone may write to the topic."""
    assert read_cycle_record(value) is None


def test_names_beyond_bounds_are_left_out(ledger: Ledger) -> None:
    """They become keys and names of folders."""
    for record in (asked(""), asked("x" * 201), asked("c", agent="x" * 201)):
        take_cycle_record(ledger, record)

    assert ledger.cycles() == []


def test_words_on_everything_are_heeded_until_they_are_lifted() -> None:
    """A freeze of one class is routing's alone; one of all holds promotions back. A named policy is the one that others must beat."""
    words = Words()
    words.take(b"freeze/code", msgspec.json.encode(Override(kind="freeze", query_class="code")))
    words.take(b"garbage", b"{")
    assert words.marks() == {"frozen": "", "policy": ""}

    words.take(b"freeze/*", msgspec.json.encode(Override(kind="freeze", reason="release week")))
    words.take(b"policy/*", msgspec.json.encode(Override(kind="policy", policy="ucb")))
    assert "release week" in words.marks()["frozen"]
    assert words.marks()["policy"] == "ucb"

    words.take(b"freeze/*", None)
    words.take(b"policy/*", None)
    assert words.marks() == {"frozen": "", "policy": ""}


def test_file_that_is_no_ledger_is_refused(tmp_path: Path, clock: Clock) -> None:
    """It may be somebody's, and is not touched."""
    garbage, foreign = tmp_path / "garbage", tmp_path / "foreign"
    garbage.write_bytes(b"x" * 5000)
    database = sqlite3.connect(foreign)
    database.execute("CREATE TABLE theirs (a)")
    database.close()
    before = foreign.read_bytes()

    for path in (garbage, foreign):
        with pytest.raises(LedgerFormatError, match="move it away"):
            Ledger(path, clock)
    assert (garbage.read_bytes(), foreign.read_bytes()) == (b"x" * 5000, before)
