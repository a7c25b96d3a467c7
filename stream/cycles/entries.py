"""What stands in the ledger of learning cycles: a cycle, a candidate, a message that is to be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stream.cycles.states import Standing, State


@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle as it stands.

    Attributes:
        cycle_id: from its request.
        trigger: why it was asked for.
        agent: the one that it is about; empty: all.
        requested_at: epoch seconds.
        evidence: what its request says crossed a threshold.
        state: what of it is done.
        attempts: processes that were started to go on with it since its last step.
        is_cancelled: whether a person wants it ended.
        elsewhere: the learner that was seen to do its steps, where that is another one.
    """

    cycle_id: str
    trigger: str
    agent: str
    requested_at: float
    evidence: dict[str, Any]
    state: State
    attempts: int
    is_cancelled: bool
    elsewhere: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change that a cycle proposes.

    Attributes:
        id: in the ledger.
        cycle_id: whose it is.
        name: unique in its cycle, as `config/react`.
        kind: `routing`, `config` or `adapter`.
        standing: what has become of it.
        word: a person's word that is not carried out yet: `approve`, `discard` or none.
        detail: what it consists of, its verdict, and the sentence that says why.
    """

    id: int
    cycle_id: str
    name: str
    kind: str
    standing: Standing
    word: str
    detail: dict[str, Any]

    @property
    def subject(self) -> str:
        """What it would change: an agent's name, a base model."""
        return self.name.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be announced.

    Attributes:
        id: in the ledger, in the order of sending.
        topic: where to.
        key: of the record.
        value: of the record; None is a tombstone.
    """

    id: int
    topic: str
    key: str
    value: str | None
