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


def explore(shares: Mapping[str, float], evidence: ClassEvidence, settings: RoutingSettings) -> dict[str, float]:
    """Give the exploration share, half to all arms alike, half to those that still have to be explored.

    With exploration share e, k arms and n of them to be explored, no arm is below e / 2k, and one to be explored is at
    least at e / 2n: it has its evidence after about 2n · min_evidence / e requests at most, if its traces are scored.

    Args:
        shares: probabilities that sum to 1, one for each arm of the evidence.
        evidence: of the class.
        settings: of routing.
    """
    wanted = {arm.id for arm in evidence.arms if _is_favoured(arm, settings)} or set(shares)
    total = sum(shares.values())
    every, favoured = settings.exploration_share / 2 / len(shares), settings.exploration_share / 2 / len(wanted)
    return {arm_id: (1 - settings.exploration_share) * share / total + every + (favoured if arm_id in wanted else 0.0) for arm_id, share in shares.items()}


def _is_favoured(arm: ArmEvidence, settings: RoutingSettings) -> bool:
    return is_exploring(arm, settings) and arm.count < UNRATED_PATIENCE * settings.min_evidence
