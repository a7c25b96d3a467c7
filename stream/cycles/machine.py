"""The machine that takes a cycle from step to step, in a process that holds the lock.

Each step reads what earlier ones kept in the ledger and says what it has done; the machine writes that down before the next one begins. So a
crash costs the step that was being done: it is done again, and leaves what it left the first time.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream.cycles.entries import Cycle
from stream.cycles.ledger import Ledger
from stream.cycles.plan import Plan
from stream.cycles.states import LIVE, Standing, State

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bench:
    """What steps work with.

    Attributes:
        plan: of the deployment.
        ledger: of all cycles.
        clock: epoch seconds.
    """

    plan: Plan
    ledger: Ledger
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Done:
    """What a step has done.

    Attributes:
        state: of the cycle now.
        said: one sentence on it, for people.
        detail: what else is told of it.
        kept: what later steps need of it.
        marks: set together with it.
    """

    state: State
    said: str
    detail: dict[str, Any] = field(default_factory=dict)
    kept: Any = None
    marks: dict[str, str] = field(default_factory=dict)


Step = Callable[[Bench, Cycle], Done | None]
"""One step of a cycle; None where it cannot be done yet."""


class Machine:
    """Takes cycles from step to step.

    Args:
        bench: what the steps work with.
        steps: by the state that each follows.
        discard: called for a cycle that ends before it is settled, so that it leaves nothing.
    """

    def __init__(self, bench: Bench, steps: Mapping[State, Step], discard: Callable[[Bench, Cycle, str], None]) -> None:
        self._bench, self._steps, self._discard = bench, steps, discard

    def run(self, cycle_id: str, *, until: State | None = None) -> State:
        """Go on with a cycle until it ends, or waits for a training job, or has reached a state; returns its state."""
        ledger = self._bench.ledger
        while not (cycle := ledger.cycle(cycle_id)).state.is_end and cycle.state is not until:
            if (done := self._do(cycle)) is None:
                break
            ledger.advance(cycle_id, done.state, {"said": done.said, **done.detail}, kept=done.kept, marks=done.marks)
            logger.info("cycle %s is %s: %s", cycle_id, done.state, done.said)
        return cycle.state

    def _do(self, cycle: Cycle) -> Done | None:
        if end := self._given_up(cycle):
            return end
        try:
            return self._steps[cycle.state](self._bench, cycle)
        except (OSError, sqlite3.Error):
            raise  # the machine's fault and not the cycle's: another process may have better luck
        except Exception as exc:
            logger.exception("cycle %s ends in the step after %s", cycle.cycle_id, cycle.state)
            return self._ended(cycle, State.ABORTED, f"the step after {cycle.state} failed: {exc or type(exc).__name__}")

    def _given_up(self, cycle: Cycle) -> Done | None:
        """End a cycle that is not to go on, unless it has begun to promote: what was promoted stays, so it goes on to the end."""
        if cycle.state is State.SETTLED or any(each.standing in LIVE | {Standing.PROMOTING} for each in self._bench.ledger.candidates(cycle.cycle_id)):
            return None
        if cycle.is_cancelled:
            return self._ended(cycle, State.CANCELLED, "a person cancelled it")
        if cycle.elsewhere:
            return self._ended(cycle, State.ABORTED, f"learner {cycle.elsewhere} began it and has not ended it, and what it had done is not here")
        return None

    def _ended(self, cycle: Cycle, state: State, reason: str) -> Done:
        self._discard(self._bench, cycle, reason)
        return Done(state, reason)
