"""Canaries: a version of an agent's configuration that is on trial, drawn for a small share of what its agent is drawn for.

Each canary takes the same part of the draws of every arm that it stands beside, in every class and for every request, so that the requests of
both differ by chance alone, and what they earned can be held against each other without weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from stream.records import Arm, ArmRouting
from stream.routing.evidence import ArmEvidence, ClassEvidence

Canary = tuple[Arm, float]
"""An agent and the version of its configuration that is on trial, and its share."""


def is_of(arm: Arm, canaries: Iterable[Canary]) -> bool:
    """Whether an arm is one of the canaries, whatever its model."""
    return any((arm.agent, arm.config_version) == (canary.agent, canary.config_version) for canary, _ in canaries)


def with_canaries(evidence: ClassEvidence, canaries: Sequence[Canary]) -> ClassEvidence:
    """Add the canaries' arms that nothing is known of yet: one for every arm that they stand beside."""
    known = {arm.id for arm in evidence.arms}
    wanted = {_beside(arm.arm, canary) for canary, _ in canaries for arm in evidence.arms if arm.arm.agent == canary.agent}
    new = [ArmEvidence(arm=arm, id=arm.id) for arm in wanted if arm.id not in known]
    return replace(evidence, arms=tuple(sorted((*evidence.arms, *new), key=lambda arm: arm.id))) if new else evidence


def drawn_beside(arms: Sequence[ArmRouting], canaries: Sequence[Canary], standing: Collection[str]) -> tuple[ArmRouting, ...]:
    """Let canaries take their part of what a policy gave the others.

    Args:
        arms: with the policy's probabilities; canaries among them, with none.
        canaries: of the class, at most one of each agent.
        standing: ids of the arms that no operator has withdrawn.
    """
    known = {arm.id: arm for arm in arms}
    for canary, share in canaries:
        for arm in arms:
            if arm.id in standing and is_of(arm.arm, [(canary, share)]):
                bases = tuple(base.id for base in arms if base.probability > 0.0 and not is_of(base.arm, canaries) and _beside(base.arm, canary) == arm.arm)
                known[arm.id] = msgspec.structs.replace(arm, state="canary", canary_of=bases, canary_share=share)
    shares = shared({arm.id: arm.probability for arm in arms}, known.values())
    return tuple(msgspec.structs.replace(arm, probability=shares[arm.id]) for arm in known.values())


def shared(shares: Mapping[str, float], arms: Iterable[ArmRouting]) -> dict[str, float]:
    """Let the canaries among arms take their part of the shares that the others have for one request; shares of arms beside which there is none stay."""
    found = dict(shares)
    for canary in arms:
        bases = {base: found[base] for base in canary.canary_of if base in found}
        if bases:
            found |= {base: (1.0 - canary.canary_share) * share for base, share in bases.items()}
            found[canary.id] = canary.canary_share * sum(bases.values())
    return found


def _beside(arm: Arm, canary: Arm) -> Arm:
    return msgspec.structs.replace(arm, config_version=canary.config_version)
