"""The records that flow through Eddy's topics: what is on the wire, in JSON, one struct a record.

Reading an untrusted record is `stream.reading.record`'s work; these types are what Eddy writes and what clients build.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SCHEMA = 1
"""Version of every record's schema; a reader takes this one and the two before it, as they come to be."""

ANY_CLASS = "*"
"""The name that stands for every class: key of the update for classes without one of their own, and class of overrides that hold for all."""
OVERFLOW = "~overflow"
"""Name of the class, and model of the arm, that take what is beyond a partition's caps."""

RaterKind = Literal["human", "judge", "program"]
DecisionKind = Literal["drawn", "sticky", "fallback", "pinned"]
ArmState = Literal["active", "exploring", "canary", "shadow", "withdrawn"]
OverrideKind = Literal["pin", "freeze", "withdraw", "canary", "active_fold"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What every record has."""

    schema: int = SCHEMA


class Arm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What can be chosen to serve a request; an empty field is one that the choice leaves open."""

    model: str = ""
    agent: str = ""
    config_version: str = ""
    adapter: str = ""

    @property
    def id(self) -> str:
        r"""The arm's name: its fields joined by `|`, empty ones at the end left out, `|` and `\` escaped by `\`.

        Example:
            >>> Arm(model="gpt-4", agent="react").id
            'gpt-4|react'
            >>> Arm(model="a|b").id
            'a\\|b'
        """
        fields = [self.model, self.agent, self.config_version, self.adapter]
        while fields and not fields[-1]:
            fields.pop()
        return "|".join(field.replace("\\", "\\\\").replace("|", "\\|") for field in fields)

    @classmethod
    def parse(cls, arm_id: str) -> Arm:
        r"""Read an arm's name back.

        Raises:
            ValueError: more than four fields.

        Example:
            >>> Arm.parse("gpt-4|react") == Arm(model="gpt-4", agent="react")
            True
        """
        fields, escaped = [""], False
        for character in arm_id:
            if not escaped and character == "\\":
                escaped = True
            elif not escaped and character == "|":
                fields.append("")
            else:
                fields[-1] += character
                escaped = False
        if len(fields) > 4:
            raise ValueError(
                f"arm {arm_id!r} has {len(fields)} fields, but an arm is MODEL|AGENT|CONFIG_VERSION|ADAPTER;"
                r" write a `|` inside a name as `\|`"
            )
        names = ("model", "agent", "config_version", "adapter")
        return cls(**dict(zip(names, fields, strict=False)))


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


class ArmStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of one full arm in one class of one partition."""

    arm: Arm
    buckets: tuple[tuple[int, ...], ...]
    """Rows of (width in seconds, start in epoch seconds, drawn 0 or 1, then the sums in the order of `stream.fold.totals.Sum`)."""


class PartitionStatistics(Record, frozen=True, kw_only=True):
    """The running total of one source partition and query class, at one offset of the log: never a delta."""

    fold: str
    partition: int
    offset: int
    """Offset, counted over all epochs of the log, of the last record folded."""
    log_time_ms: int
    query_class: str
    arms: tuple[ArmStatistics, ...]


class ArmRouting(msgspec.Struct, frozen=True, kw_only=True):
    """What an update says of one arm."""

    id: str
    arm: Arm
    probability: float
    """Share of draws, in [0, 1]; over all arms of an update it sums to 1."""
    mean: float | None
    """Mean reward in [0, 1]; none where no trace of the arm was scored."""
    interval: tuple[float, float] | None
    effective_count: float
    """Traces, each weighted by its age."""
    rated_count: int
    """Traces with a score from any source."""
    count: int
    cost_usd: float | None
    latency_s: float | None
    state: ArmState


class RoutingUpdate(Record, frozen=True, kw_only=True):
    """What routers draw from for one query class."""

    query_class: str
    fold: str
    policy: str
    version: tuple[int, int]
    """(epoch, counter): compared as a tuple, the greater is the newer."""
    log_time_ms: int
    lambda_cost: float = 0.0
    lambda_latency: float = 0.0
    exploration_share: float
    interval_method: str
    alpha: float
    best_arm: str | None
    reason: str
    """Why these probabilities, in one sentence."""
    arms: tuple[ArmRouting, ...]


class PolicyParameters(Record, frozen=True, kw_only=True):
    """A model that routers evaluate themselves instead of drawing from a table."""

    name: str
    version: tuple[int, int]
    feature_hash: str
    parameters: dict[str, Any]


class Override(Record, frozen=True, kw_only=True):
    """An operator's word over what is learned; a tombstone under its key lifts it."""

    kind: OverrideKind
    query_class: str = ANY_CLASS
    arm: Arm | None = None
    share: float | None = None
    fold: str | None = None
    reason: str = ""
    given_at: float = 0.0

    @property
    def key(self) -> str:
        """The key under which it stands on `eddy.overrides`: what it overrides.

        Example:
            >>> Override(kind="pin", query_class="code", arm=Arm(model="m")).key
            'pin/code'
            >>> Override(kind="withdraw", arm=Arm(model="m", agent="a")).key
            'withdraw/m|a'
        """
        if self.kind in ("withdraw", "canary") and self.arm is not None:
            return f"{self.kind}/{self.arm.id}"
        return self.kind if self.kind == "active_fold" else f"{self.kind}/{self.query_class}"


class CycleRequested(Record, frozen=True, kw_only=True):
    """A learning cycle is asked for."""

    type: Literal["requested"] = "requested"
    cycle_id: str
    trigger: str
    requested_at: float
    evidence: dict[str, Any] = msgspec.field(default_factory=dict)


class CycleStep(Record, frozen=True, kw_only=True):
    """A learning cycle has done one of its steps."""

    type: Literal["step"] = "step"
    cycle_id: str
    step: str
    at: float
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


class CycleFinished(Record, frozen=True, kw_only=True):
    """A learning cycle has ended."""

    type: Literal["finished"] = "finished"
    cycle_id: str
    status: str
    at: float
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


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
    """One version of an agent's configuration."""

    agent: str
    version: int
    toml: str


class Adapter(Record, frozen=True, kw_only=True):
    """A trained adapter that may be served."""

    name: str
    base_model: str
    uri: str
    sha256: str
    status: str
