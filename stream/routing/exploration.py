"""Exploration: one total share of the draws that learns, whatever the evidence says."""

from __future__ import annotations

from collections.abc import Mapping

from stream.routing.evidence import ArmEvidence, ClassEvidence
from stream.routing.settings import RoutingSettings

UNRATED_PATIENCE = 10
"""An arm that was drawn this many times the evidence it needs, and still is not explored, is not being rated: it stops being favoured."""


def is_exploring(arm: ArmEvidence, settings: RoutingSettings) -> bool:
    """Whether the arm has fewer scored traces, since its rewards last changed, than it needs to count as explored."""
    rated = arm.rated_count if arm.rated_since_change is None else arm.rated_since_change
    return rated < settings.min_evidence


def is_overdrawn(arm: ArmEvidence, evidence: ClassEvidence, settings: RoutingSettings) -> bool:
    """Whether too many decisions for the arm wait for their trace in this class.

    A pooled class is not asked: it adds up what every class may have, and a class is decided by itself from its first decision on.
    """
    return evidence.query_class != settings.pool_of(evidence.query_class) and 0 < settings.max_unresolved < arm.unresolved


def explore(shares: Mapping[str, float], evidence: ClassEvidence, settings: RoutingSettings) -> dict[str, float]:
    """Give the exploration share, half to all arms alike, half to those that still have to be explored as long as there are any.

    With exploration share e, k arms and n of them to be explored, no arm is below e / 2k, and one to be explored is at
    least at e / 2n: it has its evidence after about 2n · min_evidence / e requests at most, if its traces are scored. An arm that
    is expected to use up several times a ceiling gets as many times less, so that exploring costs a share e of the ceiling at most.

    An arm that is overdrawn has no part in it, as long as another is not; and while it has to be explored its share by the
    policy goes down as its unresolved decisions go up. One that has its evidence is judged by that, however busy it is.

    Args:
        shares: probabilities that sum to 1, one for each arm of the evidence.
        evidence: of the class.
        settings: of routing.
    """
    held = {arm.id: settings.max_unresolved / arm.unresolved for arm in evidence.arms if is_overdrawn(arm, evidence, settings) and is_exploring(arm, settings)}
    leading = {arm_id: share * held.get(arm_id, 1.0) for arm_id, share in shares.items()}
    given = floors(evidence, settings)
    left = (1.0 - sum(given.values())) / sum(leading.values())
    return {arm_id: left * share + given[arm_id] for arm_id, share in leading.items()}


def floors(evidence: ClassEvidence, settings: RoutingSettings) -> dict[str, float]:
    """What exploration gives every arm, whatever the policy does."""
    every = {arm.id for arm in evidence.arms if not is_overdrawn(arm, evidence, settings)} or {arm.id for arm in evidence.arms}
    wanted = {arm.id for arm in evidence.arms if arm.id in every and _is_favoured(arm, settings)}
    half = settings.exploration_share / 2
    parts = {arm.id: half * (arm.id in every) / len(every) + half * (arm.id in wanted) / max(len(wanted), 1) for arm in evidence.arms}
    return {arm.id: parts[arm.id] / max(arm.burden, 1.0) for arm in evidence.arms}


def _is_favoured(arm: ArmEvidence, settings: RoutingSettings) -> bool:
    return is_exploring(arm, settings) and arm.count < UNRATED_PATIENCE * settings.min_evidence
