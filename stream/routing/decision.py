"""Decisions: from a class's evidence and the operator's word to every arm's probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from stream.records import Arm, ArmRouting, ArmState, RoutingUpdate
from stream.routing.canaries import drawn_beside, is_of, with_canaries
from stream.routing.ceilings import NO_PRICES, Prices, charge
from stream.routing.confidence import METHOD, judge
from stream.routing.evidence import ArmEvidence, ClassEvidence
from stream.routing.exploration import explore, floors, is_exploring, is_overdrawn
from stream.routing.overrides import Overrides
from stream.routing.registry import Decided, Policy, Standing, policy_named
from stream.routing.settings import RoutingSettings

PINNED, FROZEN, WITHDRAWN = "pinned", "frozen", "withdrawn"
"""What stands as an update's policy where an operator's word decided."""
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How a class's draws are divided, and by whom.

    Attributes:
        policy: the policy's name, or `PINNED`, `FROZEN`, `WITHDRAWN`.
        probabilities: of each arm that may be drawn; they sum to 1, or are none where every arm is withdrawn.
        reason: why, in one clause.
        decided: by the policy, where one did.
    """

    policy: str
    probabilities: Mapping[str, float]
    reason: str
    decided: Decided | None = None


def decide(
    evidence: ClassEvidence,
    *,
    settings: RoutingSettings,
    overrides: Overrides,
    frozen: Mapping[str, float] | None = None,
    fold: str = "",
    version: tuple[int, int] = (0, 0),
    prices: Prices = NO_PRICES,
) -> RoutingUpdate:
    """Decide for one class.

    1. Arms that are withdrawn get 0, whatever else is said. Where none is left, every arm has 0 and routers use their callers'
       own fallback: an arm that was withdrawn never serves.
    2. A pinned class gives its pin 1; the pin may be an arm without evidence.
    3. A frozen class keeps the probabilities it was frozen with, renormalised over what is not withdrawn.
    4. Else the policy decides, and the exploration share is added. An operator's word, or a learning cycle's, outranks the settings' policy.
    5. Where the policy decides, canaries take their part of what it gave to the arms that they stand beside. They are no arms of its own.

    Args:
        evidence: of the class, withdrawn arms included.
        settings: of routing.
        overrides: the operator's words, on any class.
        frozen: the probabilities to keep where the class is frozen; None where it had none yet: the policy then decides once.
        fold: the fold that the evidence comes from.
        version: of the update.
        prices: that the ceilings are held by.
    """
    settings = overrides.with_policy(settings, evidence.query_class)
    canaries = overrides.canaries(evidence.query_class)
    evidence = charge(with_canaries(with_pin(evidence, overrides.pin(evidence.query_class)), canaries), prices, settings)
    standing = [arm for arm in evidence.arms if not overrides.is_withdrawn(evidence.query_class, arm.arm)]
    allowed = replace(evidence, arms=tuple(arm for arm in standing if not is_of(arm.arm, canaries)))
    shares = share_out(allowed, settings=settings, overrides=overrides, frozen=frozen)
    verdict = judge(allowed, settings.alpha)
    arms = _with_scores([_routing(arm, shares, verdict.intervals, settings) for arm in evidence.arms], allowed, shares.decided, settings)
    return RoutingUpdate(
        query_class=evidence.query_class,
        fold=fold,
        policy=shares.policy,
        version=version,
        log_time_ms=evidence.log_time_ms,
        lambda_cost=prices.cost / (settings.max_cost_usd or 1.0),
        lambda_latency=prices.latency / (settings.max_latency_s or 1.0),
        exploration_share=_explored(shares.policy, settings),
        interval_method=METHOD,
        alpha=settings.alpha,
        best_arm=verdict.best_arm,
        reason=f"{shares.reason}; {verdict.reason}",
        sampler=settings.sampler,
        sharpness=shares.decided.sharpness if shares.decided else 0.0,
        arms=drawn_beside(arms, canaries, {arm.id for arm in standing}) if canaries and shares.decided else arms,
        rollout=overrides.rollout(evidence.query_class),
    )


def with_pin(evidence: ClassEvidence, pin: Arm | None) -> ClassEvidence:
    """Add the arm that the class is pinned to, where it is not known otherwise."""
    if pin is None or evidence.of(pin.id):
        return evidence
    arms = sorted((*evidence.arms, ArmEvidence(arm=pin, id=pin.id)), key=lambda arm: arm.id)
    return replace(evidence, arms=tuple(arms))


def share_out(allowed: ClassEvidence, *, settings: RoutingSettings, overrides: Overrides, frozen: Mapping[str, float] | None) -> Shares:
    """Divide the draws among the arms that may be drawn; the steps are those of `decide`."""
    pin = overrides.pin(allowed.query_class)
    if not allowed.arms:
        return Shares(policy=WITHDRAWN, probabilities={}, reason="every arm is withdrawn: nothing is drawn")
    if pin and allowed.of(pin.id):
        return Shares(policy=PINNED, probabilities={pin.id: 1.0}, reason=f"an operator pinned the class to {pin.id}")
    kept = _kept(allowed, frozen) if overrides.is_frozen(allowed.query_class) else None
    if kept:
        return Shares(policy=FROZEN, probabilities=kept, reason="an operator froze the probabilities as they were")
    return _by_policy(policy_named(settings.policy), allowed, settings)


def _kept(allowed: ClassEvidence, frozen: Mapping[str, float] | None) -> dict[str, float] | None:
    kept = {arm.id: (frozen or {}).get(arm.id, 0.0) for arm in allowed.arms}
    total = sum(kept.values())
    return {arm_id: share / total for arm_id, share in kept.items()} if total > 0 else None


def _by_policy(policy: Policy, allowed: ClassEvidence, settings: RoutingSettings) -> Shares:
    decided = policy.probabilities(allowed, settings)
    probabilities = explore(decided.probabilities, allowed, settings) if policy.explores else decided.probabilities
    return Shares(policy=settings.policy, probabilities=probabilities, reason=decided.reason, decided=decided)


def _explored(policy: str, settings: RoutingSettings) -> float:
    by_policy = policy == settings.policy and policy_named(policy).explores
    return settings.exploration_share if by_policy else 0.0


def _routing(arm: ArmEvidence, shares: Shares, intervals: Mapping[str, Interval | None], settings: RoutingSettings) -> ArmRouting:
    withdrawn = arm.id not in intervals
    return ArmRouting(
        id=arm.id,
        arm=arm.arm,
        probability=0.0 if withdrawn else shares.probabilities.get(arm.id, 0.0),
        mean=arm.believed.mean,
        interval=intervals.get(arm.id),
        effective_count=arm.believed.weight,
        rated_count=arm.rated_count,
        count=arm.count,
        cost_usd=arm.cost_usd.mean,
        latency_s=arm.latency_s.mean,
        state=_state(arm, settings, withdrawn=withdrawn),
        rated_share=arm.rated_share,
        worst_case=arm.worst_case,
        unresolved=arm.unresolved,
    )


def _with_scores(arms: Sequence[ArmRouting], allowed: ClassEvidence, decided: Decided | None, settings: RoutingSettings) -> tuple[ArmRouting, ...]:
    """Tell routers what the policy went by, where they may refine it: not where tenants are apart, since a model may still stand that all of them taught."""
    if decided is None or decided.standings is None or settings.tenants_apart or any(is_overdrawn(arm, allowed, settings) for arm in allowed.arms):
        return tuple(arms)
    standings, given = decided.standings, floors(allowed, settings)
    return tuple(_with_standing(arm, standings[arm.id], given[arm.id]) if arm.id in standings else arm for arm in arms)


def _with_standing(arm: ArmRouting, standing: Standing, floor: float) -> ArmRouting:
    return msgspec.structs.replace(arm, score=standing.score, level=standing.level, deviation=standing.deviation, floor=floor)


def _state(arm: ArmEvidence, settings: RoutingSettings, *, withdrawn: bool) -> ArmState:
    if withdrawn:
        return "withdrawn"
    return "exploring" if is_exploring(arm, settings) else "active"


def has_moved(before: RoutingUpdate | None, after: RoutingUpdate, least: float) -> bool:
    """Whether a decision is worth an update of its own: another policy, best arm, rollout, set or state of arms, or a probability moved."""
    if before is None or (before.policy, before.best_arm, before.fold, before.rollout) != (after.policy, after.best_arm, after.fold, after.rollout):
        return True
    if [(arm.id, arm.state) for arm in before.arms] != [(arm.id, arm.state) for arm in after.arms]:
        return True
    return any(abs(old.probability - new.probability) > least for old, new in zip(before.arms, after.arms, strict=True))


def has_new_evidence(before: RoutingUpdate | None, after: RoutingUpdate) -> bool:
    """Whether the counts that an update shows have changed."""
    return before is None or [(arm.count, arm.rated_count, arm.unresolved) for arm in before.arms] != [(arm.count, arm.rated_count, arm.unresolved) for arm in after.arms]
