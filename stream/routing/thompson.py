"""The Thompson policy: an arm is drawn as often as it is likely to be the best."""

from __future__ import annotations

from stream.routing.evidence import ArmEvidence, ClassEvidence
from stream.routing.heuristic import cold_start, is_cold
from stream.routing.posterior import Posterior, Shifted, posterior
from stream.routing.quadrature import best_probabilities
from stream.routing.registry import Decided
from stream.routing.settings import RoutingSettings


class Thompson:
    """Thompson's rule, with the probabilities themselves (by quadrature, never by sampling) as the decision.

    Source: W. R. Thompson, On the likelihood that one unknown probability exceeds another, Biometrika 25 (1933). Departures:
    traces that no router drew and traces of other classes enter as a prior with capped weight, older traces weigh less,
    what the ceilings charge is taken off, and a cold class goes half to the default arm.
    """

    explores = True

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        shares = best_probabilities([_net(arm) for arm in evidence.arms])
        likely = {arm.id: share for arm, share in zip(evidence.arms, shares, strict=True)}
        if is_cold(evidence, settings):
            return cold_start(evidence, settings, likely)
        best = min(likely, key=lambda arm_id: (-likely[arm_id], arm_id))
        return Decided(probabilities=likely, reason=f"{best} is the best of {len(likely)} with probability {likely[best]:.3f}")


def _net(arm: ArmEvidence) -> Posterior:
    return Shifted.by(posterior(arm), -arm.toll)
