"""Exploration: one total share of the draws that learns, whatever the evidence says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stream.routing.evidence import ArmEvidence, ClassEvidence
from stream.routing.settings import RoutingSettings

UNRATED_PATIENCE = 10
"""An arm that was drawn this many times the evidence it needs, and still is not explored, is not being rated: it stops being favoured."""

MOST_RESTLESS, RESTLESS_COST = 0.25, 0.01
"""Of an arm that has changed: its greatest share of the draws, and the greatest reward a request that drawing it may cost."""


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
    Arms whose rewards have changed get more than that: see `_restless`.

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
    restless = _restless([arm for arm in evidence.arms if arm.id in every], settings)
    given = {arm.id: (parts[arm.id] + restless.get(arm.id, 0.0)) / max(arm.burden, 1.0) for arm in evidence.arms}
    whole = max(math.fsum(given.values()), 1.0)
    return {arm_id: share / whole for arm_id, share in given.items()}


def _restless(arms: Sequence[ArmEvidence], settings: RoutingSettings) -> dict[str, float]:
    """Widen exploration of arms that have changed before: they may change again, which only their draws would show.

    What it costs is bounded in reward, so that an arm that is hardly behind is looked at often, and one that is far behind seldom.
    """
    nets = {arm.id: _mean(arm) - arm.toll for arm in arms}
    changed = [arm.id for arm in arms if arm.changed_s is not None and settings.exploration_share > 0.0]
    gaps = {arm_id: max(nets.values()) - nets[arm_id] for arm_id in changed}
    return {arm_id: min(MOST_RESTLESS, RESTLESS_COST / max(gap, RESTLESS_COST)) / len(changed) for arm_id, gap in gaps.items()}


def _is_favoured(arm: ArmEvidence, settings: RoutingSettings) -> bool:
    return is_exploring(arm, settings) and arm.count < UNRATED_PATIENCE * settings.min_evidence


def _mean(arm: ArmEvidence) -> float:
    known = arm.believed.plus(arm.prior)
    return (known.total + 1.0) / (known.weight + 2.0)
