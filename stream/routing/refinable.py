"""The policy behind `contextual`: it divides a class's draws by a few numbers an arm, which routers that know a request can move."""

from __future__ import annotations

import math

from stream.routing.evidence import ClassEvidence
from stream.routing.heuristic import cold_start, is_cold
from stream.routing.posterior import posterior
from stream.routing.registry import Decided, Standing
from stream.routing.samplers import divide
from stream.routing.settings import RoutingSettings

SHARPNESS = 30.0
"""Of inverse-gap weighting, per scored trace and unit of reward: an arm .1 worse is drawn once in a hundred times after 33 traces."""
CENTRE_WEIGHT = 2.0
"""Traces that the mean of all arms' draws weighs in each arm's: what is not known of an arm is taken for ordinary."""


class Refinable:
    """The sampler of the settings on the arms' means, charges of ceilings taken off."""

    explores = True

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        known = [arm.believed.plus(arm.prior) for arm in evidence.arms]
        weight = math.fsum(tally.weight for tally in known)
        centre = (math.fsum(tally.total for tally in known) + 0.5 * CENTRE_WEIGHT) / (weight + CENTRE_WEIGHT)
        levels = [(tally.total + centre * CENTRE_WEIGHT) / (tally.weight + CENTRE_WEIGHT) for tally in known]
        standings = {arm.id: Standing(level, posterior(arm).deviation, level - arm.toll) for arm, level in zip(evidence.arms, levels, strict=True)}
        divided = divide(settings.sampler, [each.score for each in standings.values()], [each.deviation for each in standings.values()], SHARPNESS * weight)
        shares = dict(zip(standings, divided, strict=True))
        if is_cold(evidence, settings):
            return cold_start(evidence, settings, shares)
        best = min(shares, key=lambda arm_id: (-shares[arm_id], arm_id))
        reason = f"{best} is ahead of {len(shares) - 1} others after {weight:.0f} traces' worth of evidence"
        return Decided(probabilities=shares, reason=reason, standings=standings, sharpness=SHARPNESS * weight)
