"""The machine that takes cycles from step to step: what a crash, a failure, a person's word and another learner do to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.cycles.entries import Cycle
from stream.cycles.ledger import Ledger
from stream.cycles.machine import Bench, Done, Machine
from stream.cycles.plan import Plan
from stream.cycles.promoting import discard
from stream.cycles.states import STEPS, Standing, State
from stream.records import CycleOrder, CycleRequested
from stream.settings import load


class CrashError(BaseException):
    """Ends a process, as far as its code can tell."""


class Script:
    """Steps that do nothing but say that they were done; one may fail or crash."""

    def __init__(self) -> None:
        self.done: list[State] = []
        self.at: dict[State, BaseException] = {}
        self.steps = {source: self._step(target) for source, target in zip((State.REQUESTED, *STEPS), (*STEPS, State.COMPLETED), strict=True)}

    def _step(self, target: State):
        def step(bench: Bench, cycle: Cycle) -> Done:
            self.done.append(target)
            if target is State.CONFIGURED:
                bench.ledger.stage(cycle.cycle_id, "routing/ucb", {})
            if (error := self.at.pop(target, None)) is not None:
                raise error
            return Done(target, f"{target} is done", kept={"of": target})

        return step


@pytest.fixture
def bench(tmp_path: Path):
    with Ledger(tmp_path / "cycles.sqlite", lambda: 1000.0) as ledger:
        ledger.request(CycleRequested(cycle_id="c1", trigger="manual", requested_at=1.0))
        yield Bench(Plan.of(load(data_dir=tmp_path)), ledger, lambda: 1000.0)


def machine(bench: Bench, script: Script) -> Machine:
    return Machine(bench, script.steps, discard)


def test_cycle_does_each_step_once_in_order(bench: Bench) -> None:
    """Eight steps and an end, each noted before the next one begins."""
    script = Script()

    assert machine(bench, script).run("c1") is State.COMPLETED
    assert script.done == [*STEPS, State.COMPLETED]


@pytest.mark.parametrize("at", STEPS)
def test_crash_costs_the_step_that_was_being_done(bench: Bench, at: State) -> None:
    """The next process goes on from the last step noted, and what is staged twice is one candidate."""
    script = Script()
    script.at[at] = CrashError()
    with pytest.raises(CrashError):
        machine(bench, script).run("c1")

    assert machine(bench, script).run("c1") is State.COMPLETED
    assert script.done == [*STEPS[: STEPS.index(at) + 1], *STEPS[STEPS.index(at) :], State.COMPLETED]
    assert len(bench.ledger.candidates("c1")) == 1


def test_failing_step_ends_the_cycle_and_says_why(bench: Bench) -> None:
    """An evaluator that raises would raise again: the cycle is aborted, and what it staged is discarded."""
    script = Script()
    script.at[State.EVALUATED] = ValueError("score is nan")

    assert machine(bench, script).run("c1") is State.ABORTED
    assert "score is nan" in bench.ledger.detail("c1", State.ABORTED)["said"]
    assert [candidate.standing for candidate in bench.ledger.candidates("c1")] == [Standing.DISCARDED]


def test_full_disk_is_left_to_the_next_process(bench: Bench) -> None:
    """What is the machine's fault ends the process and not the cycle."""
    script = Script()
    script.at[State.MEASURED] = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        machine(bench, script).run("c1")

    assert bench.ledger.cycle("c1").state is State.CHECKED


def test_cancelled_cycle_ends_before_its_next_step(bench: Bench) -> None:
    """And leaves nothing staged."""
    script = Script()
    script.at[State.EVALUATED] = CrashError()
    with pytest.raises(CrashError):
        machine(bench, script).run("c1")
    bench.ledger.order(CycleOrder(cycle_id="c1", order="cancel", given_at=1.0))

    assert machine(bench, script).run("c1") is State.CANCELLED
    assert [candidate.standing for candidate in bench.ledger.candidates("c1")] == [Standing.DISCARDED]


def test_cycle_that_has_begun_to_promote_is_not_cancelled(bench: Bench) -> None:
    """Half of it is live: to end it as cancelled would say that nothing is."""
    script = Script()
    script.at[State.SETTLED] = CrashError()
    with pytest.raises(CrashError):
        machine(bench, script).run("c1")
    (candidate,) = bench.ledger.candidates("c1")
    for standing in (Standing.ACCEPTED, Standing.PROMOTING):
        bench.ledger.move(candidate, standing)
    bench.ledger.order(CycleOrder(cycle_id="c1", order="cancel", given_at=1.0))

    assert machine(bench, script).run("c1") is State.COMPLETED


def test_cycle_begun_by_another_learner_is_not_gone_on_with(bench: Bench) -> None:
    """What that one had done is not here; its own ledger may still end it."""
    bench.ledger.seen_elsewhere("c1", "5f0c")
    script = Script()

    assert machine(bench, script).run("c1") is State.ABORTED
    assert script.done == []
    assert "5f0c" in bench.ledger.detail("c1", State.ABORTED)["said"]
