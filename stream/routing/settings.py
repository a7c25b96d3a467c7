"""The settings of routing, as one frozen value that the pure library is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stream.reading.reward import QUALITY
from stream.records import ANY_CLASS, Arm, pool_of_tenant

if TYPE_CHECKING:
    from stream.settings import Settings  # noqa: TID251 - a type only: `of` is given the value

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingSettings:
    """All that routing depends on besides the evidence.

    Attributes:
        arm_fields: the fields of an arm that are routed over; evidence is merged over the others.
        declared: arms that may be drawn before any trace has shown them.
        default_arm: the arm that serves while nothing is known, or None.
        policy: a name of `stream.routing.registry`.
        sampler: a name of `stream.routing.samplers`, by which the policy `contextual` draws.
        min_evidence: scored traces that a class needs before its evidence leads, and an arm before it counts as explored.
        exploration_share: share of draws, in [0, 1], that explores whatever the evidence says; one total over all arms.
        half_life_s: age, in seconds of log time, at which a trace counts half.
        alpha: chance, in (0, 1), that a class ever names a best arm that is not the best.
        keep_s: age, in seconds of log time, at which a bucket is retired.
        interval_s: least time between two looks at one class.
        max_staleness_s: greatest age of a published update.
        confounded_cap: most that traces which no router drew weigh together in one arm, in traces. At 20, a bias of .1 in
            them is down to .02 after eighty draws (20 / (20 + 80) of it is left), and a difference of .3 still shows.
        max_unresolved: decisions waiting for their trace beyond which an arm gets no more exploring draws in a class; 0 for no limit.
        rating_delay_s: age, in seconds of log time, before which a trace's score counts for no arm.
        merged_s: least age, in seconds, of what is in a bucket of an hour, and of a day.
        pooled_cap: most that an arm's traces in other classes weigh, in traces; how much they do is estimated (`stream.routing.pooling`).
        max_cost_usd: ceiling of the mean cost of a request, in dollars, or None.
        max_latency_s: ceiling of the mean latency of a request, in seconds, or None.
        move: change of a probability that is worth an update of its own.
        tenants_apart: whether what one tenant's traces say never counts for another.
        reward: name of the reward that arms are judged by; another than `quality` is summed apart, and alone counts.
    """

    arm_fields: tuple[str, ...] = ("model",)
    declared: tuple[Arm, ...] = ()
    default_arm: Arm | None = None
    policy: str = "thompson"
    sampler: str = "maillard"
    min_evidence: int = 10
    exploration_share: float = 0.01
    half_life_s: float = 7.0 * DAY_S
    alpha: float = 0.05
    keep_s: int = 32 * DAY_S
    interval_s: float = 0.02
    max_staleness_s: float = 60.0
    confounded_cap: float = 20.0
    max_unresolved: int = 200
    rating_delay_s: float = 0.0
    merged_s: tuple[int, int] = (29 * 60, 23 * 3600)
    pooled_cap: float = 200.0
    max_cost_usd: float | None = None
    max_latency_s: float | None = None
    move: float = 0.01
    tenants_apart: bool = False
    reward: str = QUALITY

    @classmethod
    def of(cls, settings: Settings) -> RoutingSettings:
        """Take what concerns routing out of the deployment's settings."""
        fields = settings.arm_fields
        return cls(
            arm_fields=fields,
            declared=tuple(project(Arm.parse(declared.id), fields) for declared in settings.arms),
            default_arm=project(Arm.parse(settings.default_arm), fields) if settings.default_arm else None,
            policy=settings.policy,
            sampler=settings.sampler,
            min_evidence=settings.min_evidence,
            exploration_share=settings.exploration_share,
            half_life_s=settings.half_life_s,
            alpha=round(1.0 - settings.confidence, 12),
            max_cost_usd=settings.max_cost_usd,
            max_latency_s=settings.max_latency_s,
            keep_s=settings.keep_days * DAY_S,
            interval_s=settings.routing_interval_s,
            max_staleness_s=settings.routing_max_staleness_s,
            tenants_apart=settings.keeps_tenants_apart,
            reward=settings.reward,
            max_unresolved=settings.max_unresolved,
            rating_delay_s=settings.rating_delay_s,
            merged_s=((settings.keep_minutes - 1) * 60, (settings.keep_hours - 1) * 3600),
        )

    def pool_of(self, query_class: str) -> str:
        """Name the class that stands for all that a class shares evidence with: `*`, or its tenant's `TENANT|*`.

        Example:
            >>> [RoutingSettings(tenants_apart=apart).pool_of("acme|code") for apart in (False, True)]
            ['*', 'acme|*']
        """
        return pool_of_tenant(query_class) if self.tenants_apart else ANY_CLASS

    @property
    def known_arms(self) -> tuple[Arm, ...]:
        """The arms that need no trace to be drawn: the declared ones and the default one."""
        return self.declared + ((self.default_arm,) if self.default_arm else ())


def project(arm: Arm, fields: tuple[str, ...]) -> Arm:
    """Leave only the routed fields of an arm.

    Example:
        >>> project(Arm(model="m", agent="react"), ("model",)).id
        'm'
    """
    return Arm(**{field: getattr(arm, field) for field in fields})
