"""Exploration: one total share of the draws that learns, whatever the evidence says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream.routing.evidence import ArmEvidence, ClassEvidence
from stream.routing.posterior import posterior
from stream.routing.settings import RoutingSettings

UNRATED_PATIENCE = 10
"""An arm that was drawn this many times the evidence it needs, and still is not explored, is not being rated: it stops being favoured."""


ALIKE = 0.5
"""Part of the exploration share that goes to all arms alike for ever, so that a change of any is noticed and logs can tell of other policies."""
MOST_RESTLESS, RESTLESS_COST = 0.25, 0.01
"""Of an arm that has changed: its greatest share of the draws, and the greatest reward a request that drawing it may cost."""
IMPLAUSIBLE = 2.0
"""Deviations by which an arm's mean, taken for better, must stay below another's, taken for worse, to be no longer favoured."""


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
    """Give the exploration share, a quarter to all arms alike, the rest to those that still have to be explored as long as there are any.

    With exploration share e, k arms and n of them to be explored, no arm is below e / 4k, and one to be explored is at
    least at 3e / 4n: it has its evidence after about 4n · min_evidence / 3e requests at most, if its traces are scored, or has shown
    before that it is not the best. An arm that is expected to use up several times a ceiling gets as many times less, so that exploring costs a share e of the ceiling at most.

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
    wanted = _plausible([arm for arm in evidence.arms if arm.id in every and _is_favoured(arm, settings)], evidence)
    alike, favoured = ALIKE * settings.exploration_share, (1.0 - ALIKE) * settings.exploration_share
    parts = {arm.id: alike * (arm.id in every) / len(every) + favoured * (arm.id in wanted) / max(len(wanted), 1) for arm in evidence.arms}
    restless = _restless(evidence, settings)
    return {arm.id: (parts[arm.id] + restless.get(arm.id, 0.0)) / max(arm.burden, 1.0) for arm in evidence.arms}


def _restless(evidence: ClassEvidence, settings: RoutingSettings) -> dict[str, float]:
    """Widen exploration of arms that have changed before: they may change again, which only their draws would show.

    What it costs is bounded in reward, so that an arm that is hardly behind is looked at often, and one that is far behind seldom.
    """
    changed = [arm for arm in evidence.arms if arm.changed_s is not None]
    if not changed or settings.exploration_share == 0.0:
        return {}
    best = max(_mean(arm) - arm.toll for arm in evidence.arms)
    behind = {arm.id: max(best - _mean(arm) + arm.toll, 0.0) for arm in changed}
    return {arm_id: min(MOST_RESTLESS, RESTLESS_COST / max(gap, 1e-9)) / len(changed) for arm_id, gap in behind.items()}


def _is_favoured(arm: ArmEvidence, settings: RoutingSettings) -> bool:
    return is_exploring(arm, settings) and arm.count < UNRATED_PATIENCE * settings.min_evidence


def _plausible(favoured: Sequence[ArmEvidence], evidence: ClassEvidence) -> set[str]:
    """Those of the arms to be explored that may still be the best one, by what is believed of them and of the others."""
    if not favoured:
        return set()
    believed = [(_mean(arm) - arm.toll, posterior(arm).deviation) for arm in evidence.arms]
    bound = max(mean - IMPLAUSIBLE * deviation for mean, deviation in believed)
    return {arm.id for arm in favoured if _mean(arm) - arm.toll + IMPLAUSIBLE * posterior(arm).deviation >= bound}


def _mean(arm: ArmEvidence) -> float:
    known = arm.believed.plus(arm.prior)
    return (known.total + 1.0) / (known.weight + 2.0)
