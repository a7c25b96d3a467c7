"""What is learned from requests and said about it: totals, routes, and an operator's overrides."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream.records.base import ANY_CLASS, Arm, Record

PARAMETERS_KEY = "~policy/"
"""How the keys of policies' parameters begin."""
ArmState = Literal["active", "exploring", "canary", "shadow", "withdrawn"]
OverrideKind = Literal["pin", "freeze", "withdraw", "canary", "active_fold", "rollout", "policy"]


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
    pairs: tuple[tuple[int, ...], ...] = ()
    """Of the whole partition, rows of `stream.fold.pairs`: start of a day in epoch seconds, source (1 judge, 2 program, 3 outcome), then over
    its traces that a person has scored too: how many, micro-scores of the person, of the source, their products, squares of the source's."""


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
    rated_share: float | None = None
    """Traces with a score among all, in [0, 1]."""
    worst_case: tuple[float, float] | None = None
    """Mean score of all traces, had all without one failed, and had all succeeded: whoever rates chooses what."""
    unresolved: int = 0
    """Decisions whose trace may still come in time; 0 where no decisions are published."""
    score: float | None = None
    """Mean reward less what the ceilings charge, which a contextual router starts from; none where the table alone is drawn from."""
    deviation: float | None = None
    """Standard deviation of what is believed of its mean reward; the less is known of an arm, the more often it is drawn."""
    level: float | None = None
    """Mean reward, in [0, 1], whose log odds a contextual router moves by what it knows of a request; the score moves by as much."""
    floor: float = 0.0
    """Probability that exploration gives it whatever a router knows of the request."""
    canary_of: tuple[str, ...] = ()
    """Ids of the arms of whose draws it gets a part, whatever those are for a request; of a canary alone."""
    canary_share: float = 0.0
    """That part, in [0, 1]."""


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
    sampler: str = "inverse_gap"
    """By which a contextual router divides the draws for a request whose scores it has moved: maillard, inverse_gap or thompson."""
    sharpness: float = 0.0
    """Of inverse-gap weighting: the greater, the less is explored."""
    best_arm: str | None
    reason: str
    """Why these probabilities, in one sentence."""
    arms: tuple[ArmRouting, ...]
    rollout: float | None = None
    """Share of requests, in [0, 1], that may follow it, by an operator's word (0: none, only observe); none where there is no such word."""


class PolicyParameters(Record, frozen=True, kw_only=True):
    """A model that routers evaluate themselves instead of drawing from a table."""

    name: str
    version: tuple[int, int]
    feature_hash: str
    parameters: dict[str, Any]

    @property
    def key(self) -> str:
        """The key under which they stand on `eddy.routing`, where no class has such a name.

        Example:
            >>> PolicyParameters(name="contextual", version=(1, 1), feature_hash="", parameters={}).key
            '~policy/contextual'
        """
        return f"{PARAMETERS_KEY}{self.name}"


class Override(Record, frozen=True, kw_only=True):
    """An operator's word over what is learned; a tombstone under its key lifts it."""

    kind: OverrideKind
    query_class: str = ANY_CLASS
    arm: Arm | None = None
    share: float | None = None
    fold: str | None = None
    policy: str | None = None
    """Name of the policy that decides instead of the one that the settings name."""
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
