"""Inverse-gap weighting: an arm is drawn the less often the worse its mean is, and the more that is known."""

from __future__ import annotations

import math

from stream.routing.contextual import inverse_gap
from stream.routing.evidence import ClassEvidence
from stream.routing.heuristic import cold_start, is_cold
from stream.routing.posterior import posterior
from stream.routing.registry import Decided
from stream.routing.settings import RoutingSettings

SHARPNESS = 30.0
"""How fast exploration gives way to evidence, per scored trace and unit of reward: an arm .1 worse is drawn once in a hundred times after 33 traces."""
OPTIMISM = 0.25
"""Deviations of its posterior that an arm's mean is taken for better: without them an arm of two unlucky traces is hardly ever tried again."""


CENTRE_WEIGHT = 2.0
"""Traces that the mean of all arms' draws weighs in each arm's: what is not known of an arm is taken for ordinary."""


class InverseGap:
    """Inverse-gap weighting on the arms' means, charges of ceilings taken off. It needs no more than a number an arm, so that a router can do it by itself.

    Source: N. Abe and P. Long, Associative reinforcement learning using linear probabilistic concepts, ICML 1999; D. Foster and
    A. Rakhlin, Beyond UCB, ICML 2020 (SquareCB). Departure: the sharpness grows with the traces, not with their square root, and
    a mean counts for a little more the less is known of it: what is wanted is little regret in ordinary cases, not the least in the worst.
    """

    explores = True

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        known = [arm.believed.plus(arm.prior) for arm in evidence.arms]
        weight = math.fsum(tally.weight for tally in known)
        centre = (math.fsum(tally.total for tally in known) + 0.5 * CENTRE_WEIGHT) / (weight + CENTRE_WEIGHT)
        levels = {arm.id: (tally.total + centre * CENTRE_WEIGHT) / (tally.weight + CENTRE_WEIGHT) for arm, tally in zip(evidence.arms, known, strict=True)}
        scores = {arm.id: levels[arm.id] + OPTIMISM * posterior(arm).deviation - arm.toll for arm in evidence.arms}
        shares = dict(zip(scores, inverse_gap(list(scores.values()), SHARPNESS * weight), strict=True))
        if is_cold(evidence, settings):
            return cold_start(evidence, settings, shares)
        best = min(shares, key=lambda arm_id: (-shares[arm_id], arm_id))
        reason = f"{best} is ahead of {len(shares) - 1} others after {weight:.0f} traces' worth of evidence"
        return Decided(probabilities=shares, reason=reason, scores=scores, levels=levels, sharpness=SHARPNESS * weight)
