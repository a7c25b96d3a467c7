"""Evidence: what all partitions together say of a class, per routed arm, each trace weighted by its age."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from stream.records import Arm
from stream.routing.calibration import AS_GIVEN, Scales
from stream.routing.settings import RoutingSettings

SOURCES = ("human", "judge", "program", "outcome", "reward")
"""Where scores come from. The last one is a reward other than quality; where there is one, the others do not count."""
NO_SOURCE = (0,) * len(SOURCES)
RECENT_ELSEWHERE = 3.0
"""Traces that the cost and the latency of an arm in all classes weigh in one class."""


class Tally(NamedTuple):
    """Scores, each weighted by its age.

    Attributes:
        weight: the scored traces.
        total: the sum of their scores, in [0, weight].
        squares: the sum of the squares of their scores, in [0, total].
    """

    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.weight + other.weight, self.total + other.total, self.squares + other.squares)

    def minus(self, other: Tally) -> Tally:
        """What is left without `other`, never below nothing."""
        return Tally(*(max(mine - theirs, 0.0) for mine, theirs in zip(self, other, strict=True)))

    def capped(self, most: float) -> Tally:
        """The same scores, weighing no more than `most` traces together."""
        share = min(1.0, most / self.weight) if self.weight > 0 else 0.0
        return Tally(self.weight * share, self.total * share, self.squares * share)

    @property
    def mean(self) -> float | None:
        """Mean score in [0, 1], or None where nothing was scored."""
        return min(max(self.total / self.weight, 0.0), 1.0) if self.weight > 0 else None


class Quantity(NamedTuple):
    """A cost or a latency over the traces where it is known; unknown is never free."""

    weight: float = 0.0
    total: float = 0.0

    def plus(self, other: Quantity, most: float) -> Quantity:
        """Both together, the other weighing no more than `most` traces."""
        share = min(1.0, most / other.weight) if other.weight > 0 else 0.0
        return Quantity(self.weight + share * other.weight, self.total + share * other.total)

    @property
    def mean(self) -> float | None:
        """Mean over the traces where it is known, or None where it never is."""
        return self.total / self.weight if self.weight > 0 else None


NO_SCORES, UNKNOWN = Tally(), Quantity()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEvidence:
    """What is known of one routed arm in one class.

    Attributes:
        drawn: scores of traces whose arm a router drew with a known probability.
        confounded: scores of the other traces: whoever chose their arm may have known why.
        prior: what the arm's traces in other classes say, already capped.
        graded: whether any score lies strictly between 0 and 1.
        count: traces, of any age that is kept.
        drawn_count: those of them that a router drew.
        by_source: scored traces by `SOURCES`; each counts under the best source it has.
        score_total: sum of their scores, of any age that is kept.
        cost_usd: dollars a trace.
        latency_s: seconds a trace.
        unresolved: decisions whose trace may still come in time.
        recent_cost_usd: dollars a trace of late, of the arm's traces in all classes where this class has few.
        recent_latency_s: seconds a trace, likewise.
        burden: cost or latency that a request is expected to take, as a multiple of its ceiling, whichever is more; 0 where there is none.
        toll: reward that the ceilings charge a request with.
        changed_s: log time, in epoch seconds, at which its rewards changed; scores from before are left out. None: never.
        rated_since_change: scored traces since then; None: all.
        confounded_cap: most that `confounded` weighs, in traces.
        believed: what the arm is judged by: its draws, and the others with capped weight.
    """

    arm: Arm
    id: str
    drawn: Tally = NO_SCORES
    confounded: Tally = NO_SCORES
    prior: Tally = NO_SCORES
    graded: bool = False
    count: int = 0
    drawn_count: int = 0
    by_source: tuple[int, ...] = NO_SOURCE
    score_total: float = 0.0
    cost_usd: Quantity = UNKNOWN
    latency_s: Quantity = UNKNOWN
    unresolved: int = 0
    recent_cost_usd: Quantity = UNKNOWN
    recent_latency_s: Quantity = UNKNOWN
    burden: float = 0.0
    toll: float = 0.0
    rated_since_change: int | None = None
    changed_s: int | None = None
    confounded_cap: float = math.inf
    believed: Tally = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "believed", self.drawn.plus(self.confounded.capped(self.confounded_cap)))

    @property
    def rated_count(self) -> int:
        """Traces with a score from any source."""
        return sum(self.by_source)

    @property
    def rated_share(self) -> float | None:
        """Traces with a score among all, in [0, 1]; None where there are none."""
        return min(self.rated_count / self.count, 1.0) if self.count else None

    @property
    def worst_case(self) -> tuple[float, float] | None:
        """The mean score of all traces, had all that are not scored failed, and had all succeeded; None where there are none.

        Whoever rates chooses what: nothing narrower than this holds whatever they choose.

        Source:
            Manski, Nonparametric bounds on treatment effects (1990).

        Example:
            >>> ArmEvidence(arm=Arm(model="m"), id="m", count=10, by_source=(4, 0, 0, 0, 0), score_total=3.0).worst_case
            (0.3, 0.9)
        """
        if not self.count:
            return None
        unrated = max(self.count - self.rated_count, 0)
        low, high = (min(max(total / self.count, 0.0), 1.0) for total in (self.score_total, self.score_total + unrated))
        return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEvidence:
    """What is known of one class: its arms, ordered by id."""

    query_class: str
    arms: tuple[ArmEvidence, ...] = ()
    log_time_ms: int = 0
    scales: Scales = field(default=AS_GIVEN, repr=False)
    """On which each source's scores are read."""

    @property
    def rated_count(self) -> int:
        """Traces of the class with a score from any source."""
        return sum(arm.rated_count for arm in self.arms)

    @property
    def count(self) -> int:
        """Traces of the class."""
        return sum(arm.count for arm in self.arms)

    @property
    def unresolved(self) -> int:
        """Decisions of the class whose trace may still come in time."""
        return sum(arm.unresolved for arm in self.arms)

    def of(self, arm_id: str) -> ArmEvidence | None:
        """The evidence of one arm, or None where the class does not know it."""
        return next((arm for arm in self.arms if arm.id == arm_id), None)


class Weighed(NamedTuple):
    """What the kept buckets of one routed arm come to: scores, cost and latency weighted by age, all else counted.

    Attributes:
        recent_cost_usd: as `cost_usd`, each trace weighted by how many newer ones there are.
        recent_latency_s: as `latency_s`, likewise.
        changed_s: see `ArmEvidence`.
    """

    arm: Arm
    drawn: Tally = NO_SCORES
    confounded: Tally = NO_SCORES
    cost_usd: Quantity = UNKNOWN
    latency_s: Quantity = UNKNOWN
    recent_cost_usd: Quantity = UNKNOWN
    recent_latency_s: Quantity = UNKNOWN
    graded: bool = False
    traces: int = 0
    drawn_traces: int = 0
    by_source: tuple[int, ...] = NO_SOURCE
    score_total: float = 0.0
    unresolved: int = 0
    rated_since_change: int = 0
    changed_s: int | None = None

    @property
    def scores(self) -> Tally:
        """All scores, whoever chose the arm."""
        return self.drawn.plus(self.confounded)


def class_evidence(
    query_class: str,
    weighed: Mapping[str, Weighed],
    settings: RoutingSettings,
    *,
    priors: Mapping[str, Tally] | None = None,
    elsewhere: Mapping[str, Weighed] | None = None,
    log_time_ms: int = 0,
    scales: Scales = AS_GIVEN,
) -> ClassEvidence:
    """Make a class's evidence out of its merged sums; arms that need no trace are there without any.

    Args:
        query_class: its name.
        weighed: its arms' sums, by arm id.
        settings: of routing.
        priors: what other classes say of the arms' scores.
        elsewhere: the arms' sums over all classes, for what they cost and how long they take.
        log_time_ms: the greatest that is known.
        scales: on which the sums were read.
    """
    known = {arm.id: Weighed(arm) for arm in settings.known_arms} | dict(weighed)
    priors, elsewhere = priors or {}, elsewhere or {}
    arms = tuple(_arm_evidence(arm_id, known[arm_id], priors.get(arm_id, NO_SCORES), elsewhere.get(arm_id), settings) for arm_id in sorted(known))
    return ClassEvidence(query_class=query_class, arms=arms, log_time_ms=log_time_ms, scales=scales)


def _arm_evidence(arm_id: str, weighed: Weighed, prior: Tally, elsewhere: Weighed | None, settings: RoutingSettings) -> ArmEvidence:
    everywhere = elsewhere or weighed
    return ArmEvidence(
        arm=weighed.arm,
        id=arm_id,
        drawn=weighed.drawn,
        confounded=weighed.confounded,
        prior=prior,
        graded=weighed.graded,
        count=weighed.traces,
        drawn_count=weighed.drawn_traces,
        by_source=weighed.by_source,
        score_total=weighed.score_total,
        cost_usd=weighed.cost_usd,
        latency_s=weighed.latency_s,
        unresolved=weighed.unresolved,
        recent_cost_usd=weighed.recent_cost_usd.plus(everywhere.recent_cost_usd, RECENT_ELSEWHERE),
        recent_latency_s=weighed.recent_latency_s.plus(everywhere.recent_latency_s, RECENT_ELSEWHERE),
        rated_since_change=weighed.rated_since_change,
        changed_s=weighed.changed_s,
        confounded_cap=settings.confounded_cap,
    )
