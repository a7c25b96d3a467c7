"""The epsilon-greedy policy: the arm with the best mean, but for the exploration share."""

from __future__ import annotations

from stream.routing.evidence import ArmEvidence, ClassEvidence
from stream.routing.heuristic import charged, cold_start, is_cold, to_the_greatest
from stream.routing.registry import Decided
from stream.routing.settings import RoutingSettings


class EpsilonGreedy:
    """The arm with the best mean takes all that the exploration share (its epsilon) leaves; equal ones divide it.

    Source: C. J. C. H. Watkins, Learning from delayed rewards, 1989. Departures: means start from one success and one failure, so that
    an arm of one lucky trace does not lead; traces of other classes and older ones weigh less; a cold class goes half to the default arm.
    """

    explores = True

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        means = {arm.id: smoothed_mean(arm) - arm.toll for arm in evidence.arms}
        shares, best = to_the_greatest(means)
        if is_cold(evidence, settings):
            return cold_start(evidence, settings, shares)
        return Decided(probabilities=shares, reason=f"{best} has the best mean{charged(evidence)}, {max(means.values()):.3f}")


def smoothed_mean(arm: ArmEvidence) -> float:
    """Return the mean of an arm's scores with one success and one failure added: Laplace's rule of succession.

    Example:
        >>> from stream.records import Arm
        >>> from stream.routing.evidence import Tally
        >>> smoothed_mean(ArmEvidence(arm=Arm(model="m"), id="m", drawn=Tally(8.0, 7.0, 7.0)))
        0.8
    """
    scores = arm.believed.plus(arm.prior)
    return (scores.total + 1.0) / (scores.weight + 2.0)
