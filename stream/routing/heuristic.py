"""The heuristic policy: what to do while little is known: the default arm leads, the others are tried."""

from __future__ import annotations

from collections.abc import Mapping

from stream.routing.evidence import ClassEvidence
from stream.routing.registry import Decided
from stream.routing.settings import RoutingSettings

COLD_LEAD = 0.5
"""Share of the leading arm in a cold class: half, so that a class warms up in about twice the traces it needs, half of them well served."""


class Heuristic:
    """The leading arm serves half of a cold class and all of a warm one; the rest is shared equally.

    The default arm leads; without one, the arm with the best mean in this class or, where it has none, in the others.
    """

    explores = True

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        leader = leading_arm(evidence, settings)
        if is_cold(evidence, settings):
            equal = 1.0 / len(evidence.arms)
            return cold_start(evidence, settings, {arm.id: equal for arm in evidence.arms})
        if leader is None:
            return Decided(probabilities=shared(evidence, None, 0.0), reason="nothing is known of any arm: all are tried alike")
        return Decided(probabilities=shared(evidence, leader, 1.0), reason=f"{leader} leads")


def is_cold(evidence: ClassEvidence, settings: RoutingSettings) -> bool:
    """Whether the class has fewer scored traces than its evidence needs to lead."""
    return evidence.rated_count < settings.min_evidence


def cold_start(evidence: ClassEvidence, settings: RoutingSettings, others: Mapping[str, float]) -> Decided:
    """Decide for a cold class; `others` says how to divide what the default arm, where there is one, leaves."""
    known = f"{evidence.rated_count} of the {settings.min_evidence} scored traces that this class needs are there"
    default = default_arm(evidence, settings)
    if default is None:
        return Decided(probabilities=dict(others), reason=f"{known}; no default arm is set, so all arms are tried")
    mixed = {arm_id: (1 - COLD_LEAD) * share + COLD_LEAD * (arm_id == default) for arm_id, share in others.items()}
    return Decided(probabilities=mixed, reason=f"{known}; the default arm {default} leads, the others are tried")


def default_arm(evidence: ClassEvidence, settings: RoutingSettings) -> str | None:
    """The default arm's id where it may be drawn."""
    default = settings.default_arm.id if settings.default_arm else None
    return default if default is not None and evidence.of(default) else None


def leading_arm(evidence: ClassEvidence, settings: RoutingSettings) -> str | None:
    """The default arm, else the arm with the best mean known; None where there is neither."""
    means = {arm: arm.believed.plus(arm.prior).mean for arm in evidence.arms}
    known = {arm.id: mean - arm.toll for arm, mean in means.items() if mean is not None}
    return default_arm(evidence, settings) or (min(known, key=lambda arm_id: (-known[arm_id], arm_id)) if known else None)


def shared(evidence: ClassEvidence, leader: str | None, lead: float) -> dict[str, float]:
    """Give the leader its share and every arm an equal part of the rest."""
    equal = (1.0 - (lead if leader else 0.0)) / len(evidence.arms)
    return {arm.id: equal + (lead if arm.id == leader else 0.0) for arm in evidence.arms}


def charged(evidence: ClassEvidence) -> str:
    """Say that means are less what the ceilings charge, where they do."""
    return ", its charge taken off" if any(arm.toll for arm in evidence.arms) else ""


def to_the_greatest(values: Mapping[str, float]) -> tuple[dict[str, float], str]:
    """Divide all draws among the arms with the greatest value; returns their shares, and their names as a list.

    Example:
        >>> to_the_greatest({"a": 0.5, "b": 0.75, "c": 0.75})
        ({'a': 0.0, 'b': 0.5, 'c': 0.5}, 'b, c')
    """
    greatest = max(values.values())
    best = sorted(arm_id for arm_id, value in values.items() if value == greatest)
    return {arm_id: (arm_id in best) / len(best) for arm_id in values}, ", ".join(best)
