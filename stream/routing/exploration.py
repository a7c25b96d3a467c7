"""Exploration: one total share of the draws that learns, whatever the evidence says."""

from __future__ import annotations

from collections.abc import Mapping

from stream.routing.evidence import ArmEvidence, ClassEvidence
from stream.routing.settings import RoutingSettings

UNRATED_PATIENCE = 10
"""An arm that was drawn this many times the evidence it needs, and still is not explored, is not being rated: it stops being favoured."""


def is_exploring(arm: ArmEvidence, settings: RoutingSettings) -> bool:
    """Whether the arm has fewer scored traces than it needs to count as explored."""
    return arm.rated_count < settings.min_evidence


def is_overdrawn(arm: ArmEvidence, evidence: ClassEvidence, settings: RoutingSettings) -> bool:
    """Whether too many decisions for the arm wait for their trace in this class.

    A pooled class is not asked: it adds up what every class may have, and a class is decided by itself from its first decision on.
    """
    return evidence.query_class != settings.pool_of(evidence.query_class) and 0 < settings.max_unresolved < arm.unresolved


def explore(shares: Mapping[str, float], evidence: ClassEvidence, settings: RoutingSettings) -> dict[str, float]:
    """Give the exploration share, half to all arms alike, half to those that still have to be explored.

    With exploration share e, k arms and n of them to be explored, no arm is below e / 2k, and one to be explored is at
    least at e / 2n: it has its evidence after about 2n · min_evidence / e requests at most, if its traces are scored.

    An arm that is overdrawn has no part in it, as long as another is not; and while it has to be explored its share by the
    policy goes down as its unresolved decisions go up. One that has its evidence is judged by that, however busy it is.

    Args:
        shares: probabilities that sum to 1, one for each arm of the evidence.
        evidence: of the class.
        settings: of routing.
    """
    overdrawn = {arm.id for arm in evidence.arms if is_overdrawn(arm, evidence, settings)}
    every = shares.keys() - overdrawn or set(shares)
    wanted = {arm.id for arm in evidence.arms if arm.id in every and _is_favoured(arm, settings)} or every
    held = {arm.id: settings.max_unresolved / arm.unresolved for arm in evidence.arms if arm.id in overdrawn and is_exploring(arm, settings)}
    leading = {arm_id: share * held.get(arm_id, 1.0) for arm_id, share in shares.items()}
    total, half = sum(leading.values()), settings.exploration_share / 2
    parts = {arm_id: half * (arm_id in every) / len(every) + half * (arm_id in wanted) / len(wanted) for arm_id in shares}
    return {arm_id: (1 - settings.exploration_share) * share / total + parts[arm_id] for arm_id, share in leading.items()}


def _is_favoured(arm: ArmEvidence, settings: RoutingSettings) -> bool:
    return is_exploring(arm, settings) and arm.count < UNRATED_PATIENCE * settings.min_evidence
