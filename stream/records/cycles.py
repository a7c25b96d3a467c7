"""What learning cycles ask for, do and bring forth: cycles, training jobs, agents' configurations, adapters."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream.records.base import Record


class CycleRequested(Record, frozen=True, kw_only=True):
    """A learning cycle is asked for."""

    type: Literal["requested"] = "requested"
    cycle_id: str
    trigger: str
    requested_at: float
    evidence: dict[str, Any] = msgspec.field(default_factory=dict)
    agent: str = ""
    """The agent that it is about; empty: all."""


class CycleStep(Record, frozen=True, kw_only=True):
    """A learning cycle has done one of its steps."""

    type: Literal["step"] = "step"
    cycle_id: str
    step: str
    """What is done, as `stream.cycles.states.State` names it."""
    at: float
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    number: int = 0
    """Which of the eight steps it is; 0: none, something between two."""
    learner: str = ""
    """Whose ledger has the cycle."""


class CycleFinished(Record, frozen=True, kw_only=True):
    """A learning cycle has ended."""

    type: Literal["finished"] = "finished"
    cycle_id: str
    status: str
    at: float
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    learner: str = ""
    """Whose ledger has the cycle."""


class CycleOrder(Record, frozen=True, kw_only=True):
    """A person's word on a learning cycle."""

    type: Literal["order"] = "order"
    cycle_id: str
    order: Literal["cancel", "approve", "discard"]
    candidate: str = ""
    """The candidate that is meant; empty: all that are held."""
    given_at: float = 0.0
    reason: str = ""


class TrainingJob(Record, frozen=True, kw_only=True):
    """An adapter is to be trained."""

    type: Literal["job"] = "job"
    job_id: str
    requested_at: float
    spec: dict[str, Any]


class TrainingClaim(Record, frozen=True, kw_only=True):
    """A trainer takes a job; the first claim in the log wins, for its lease."""

    type: Literal["claim"] = "claim"
    job_id: str
    trainer: str
    lease_s: float


class TrainingProgress(Record, frozen=True, kw_only=True):
    """How far a training job has come."""

    type: Literal["progress"] = "progress"
    job_id: str
    trainer: str
    step: int
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


class TrainingFinished(Record, frozen=True, kw_only=True):
    """A training job has ended."""

    type: Literal["finished"] = "finished"
    job_id: str
    trainer: str
    status: str
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


class AgentConfig(Record, frozen=True, kw_only=True):
    """One version of an agent's configuration, or one that is on trial."""

    agent: str
    version: int
    """Counted from 1; 0 of one that is on trial."""
    toml: str
    trial: str = ""
    """Of one that is on trial, the name by which arms tell of it; empty: it is live."""
    status: Literal["live", "shadow", "canary"] = "live"
    """Whether it serves, may run beside what serves, or serves a small share of requests."""

    @property
    def key(self) -> str:
        """The key under which it stands on `eddy.agent-configs`; no agent's name has a `|`.

        Example:
            >>> AgentConfig(agent="react", version=0, toml="", trial="~1f0c", status="shadow").key
            'react|~1f0c'
        """
        return f"{self.agent}|{self.trial}" if self.trial else self.agent


class Adapter(Record, frozen=True, kw_only=True):
    """A trained adapter that may be served."""

    name: str
    base_model: str
    uri: str
    sha256: str
    status: str
