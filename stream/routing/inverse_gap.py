"""Inverse-gap weighting: an arm is drawn the less often the worse its mean is, and the more that is known."""

from __future__ import annotations

from collections.abc import Sequence

from stream.routing.epsilon_greedy import smoothed_mean
from stream.routing.evidence import ClassEvidence
from stream.routing.heuristic import cold_start, is_cold
from stream.routing.registry import Decided
from stream.routing.settings import RoutingSettings

SHARPNESS = 8.0
"""How fast exploration gives way to evidence, per scored trace and unit of reward: an arm .1 worse is drawn once in a hundred times after 125 traces."""


class InverseGap:
    """Inverse-gap weighting on the arms' means, charges of ceilings taken off. It needs means alone, so that a router can do it by itself.

    Source: N. Abe and P. Long, Associative reinforcement learning using linear probabilistic concepts, ICML 1999; D. Foster and
    A. Rakhlin, Beyond UCB, ICML 2020 (SquareCB). Departure: the sharpness grows with the traces, not with their square root, since
    the means are unbiased here and what is wanted is little regret, not the least in the worst case.
    """

    explores = True

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        weight = sum(arm.believed.weight + arm.prior.weight for arm in evidence.arms)
        scores = {arm.id: smoothed_mean(arm) - arm.toll for arm in evidence.arms}
        shares = dict(zip(scores, inverse_gap(list(scores.values()), SHARPNESS * weight), strict=True))
        if is_cold(evidence, settings):
            return cold_start(evidence, settings, shares)
        best = min(shares, key=lambda arm_id: (-shares[arm_id], arm_id))
        reason = f"{best} is ahead of {len(shares) - 1} others after {weight:.0f} traces' worth of evidence"
        return Decided(probabilities=shares, reason=reason, scores=scores, sharpness=SHARPNESS * weight)


def inverse_gap(nets: Sequence[float], sharpness: float) -> list[float]:
    """Give each arm one over (number of arms, and sharpness times its distance from the best), and the best ones the rest.

    Args:
        nets: mean rewards, less what is charged; one or more.
        sharpness: 0 or more; at 0 all are drawn alike.

    Example:
        >>> [round(share, 6) for share in inverse_gap([0.5, 0.75, 0.25], 8.0)]   # 1 / (3 + 8 · .25), the rest, 1 / (3 + 8 · .5)
        [0.2, 0.657143, 0.142857]
    """
    greatest, count = max(nets), len(nets)
    shares = [1.0 / (count + sharpness * (greatest - net)) for net in nets]
    best = [place for place, net in enumerate(nets) if net == greatest]
    rest = 1.0 - sum(shares) + len(best) / count
    for place in best:
        shares[place] = rest / len(best)
    return shares
