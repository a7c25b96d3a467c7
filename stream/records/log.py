"""What agents, raters and routers say of requests: the records of `eddy.traces`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream.records.base import Arm, Record

RaterKind = Literal["human", "judge", "program"]
DecisionKind = Literal["drawn", "sticky", "fallback", "pinned"]


class Decision(Record, frozen=True, kw_only=True):
    """Which arm a router chose for a request, and how."""

    type: Literal["decision"] = "decision"
    trace_id: str
    kind: DecisionKind
    query_class: str
    arm: Arm
    propensity: float | None = None
    """Probability, in (0, 1], with which the arm was drawn from `candidates`; only a draw has one."""
    policy_version: str = ""
    candidates: tuple[str, ...] = ()
    """Arm ids that the draw was among."""
    features: dict[str, float] | None = None
    would_be: Arm | None = None
    """What would have been drawn, where the deployment only observes."""
    tenant: str = ""
    """Whose request it is; where tenants are kept apart, the class is this tenant's."""


class Trace(Record, frozen=True, kw_only=True):
    """One request as an agent served it. Times are epoch seconds; 0 or absent cost, tokens and latency are unknown."""

    type: Literal["trace"] = "trace"
    trace_id: str
    query: str = ""
    agent: str = ""
    model: str = ""
    engine: str = ""
    steps: list[dict[str, Any]] = msgspec.field(default_factory=list)
    result: str = ""
    outcome: str | None = None
    feedback: float | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    total_tokens: int = 0
    total_latency_seconds: float = 0.0
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    messages: list[dict[str, Any]] = msgspec.field(default_factory=list)
    cost_usd: float = 0.0
    tenant: str = ""
    session_id: str = ""
    query_class: str = ""
    config_version: str = ""
    adapter: str = ""
    decision: Decision | None = None


class Feedback(Record, frozen=True, kw_only=True):
    """What one rater says of one trace; a later `given_at` of the same rater replaces it."""

    type: Literal["feedback"] = "feedback"
    trace_id: str
    rater: str
    rater_kind: RaterKind
    score: float
    """Quality in [0, 1]."""
    given_at: float
    """Epoch seconds."""
    comment: str | None = None


class Forget(Record, frozen=True, kw_only=True):
    """Remove a trace from the archive and from what later cycles may use."""

    type: Literal["forget"] = "forget"
    trace_id: str
