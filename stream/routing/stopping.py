"""The stopping rule: when a class's draws prove one arm better than every other, however often one looks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stream.routing.evidence import ClassEvidence, Tally

PRIOR = 0.5
"""Both parameters of the mixture: Krichevsky and Trofimov's, whose bound is within half a logarithm of the best in hindsight."""
LARGEST_LOG = 690.0
"""Beyond this the evidence is told as this: `exp` of more leaves the floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """How far the arm with the greatest mean is proven to be the best.

    Attributes:
        leader: that arm.
        rival: the arm that it is least proven against.
        odds: an e-value: were the leader no better than the rival, it would ever reach x with chance 1/x at most.
        needed: the odds at which the leader is named.
    """

    leader: str
    rival: str
    odds: float
    needed: float

    @property
    def is_proven(self) -> bool:
        """Whether the leader is named."""
        return self.odds >= self.needed


def lead(evidence: ClassEvidence, alpha: float) -> Lead | None:
    """Weigh the draws of the leading arm against those of every other; None where there are no two arms, or nothing was scored.

    A wrong arm is named only when its draws are worth k/alpha to 1 against the truly best one, k being the number of arms. That
    ever happens with chance alpha/k for each wrong arm, so with chance alpha at most for all of them, and for equal arms too.
    Draws alone count; traces that no router drew prove nothing.

    Args:
        evidence: of a class, arms that may not be drawn left out.
        alpha: chance, in (0, 1), that an arm is ever named that is not the best.
    """
    ranked = sorted((arm for arm in evidence.arms if arm.drawn.weight > 0), key=lambda arm: (-(arm.drawn.mean or 0.0), arm.id))
    if len(evidence.arms) < 2 or not ranked:
        return None
    first = ranked[0]
    against = {arm.id: log_odds(first.drawn, arm.drawn) for arm in evidence.arms if arm.id != first.id}
    rival = min(against, key=lambda arm_id: (against[arm_id], arm_id))
    return Lead(leader=first.id, rival=rival, odds=math.exp(min(against[rival], LARGEST_LOG)), needed=len(evidence.arms) / alpha)


def log_odds(leader: Tally, rival: Tally) -> float:
    """Logarithm of the evidence that the leader's mean is above the rival's.

    For each arm the likelihood of a Bernoulli sequence, mixed over a Beta prior and divided by that at the true mean, is a
    martingale (at most one for scores between 0 and 1), however the arms are drawn; so is the product for two arms. Its least
    value over all pairs of means with the leader's not above the rival's is below that at the true pair, if that is such a
    pair. Where the leader's mean is the greater one, the least value stands where both are equal to the mean of all.

    Compared with separate intervals it takes about half the draws: two intervals must each leave the other's arm.

    Args:
        leader: scores in [0, 1].
        rival: scores in [0, 1].

    Returns:
        Below 0 where nothing speaks for the leader.

    Source:
        L. Wasserman, A. Ramdas, S. Balakrishnan, Universal inference, PNAS 117 (2020): a mixture over the null's greatest
        likelihood. Departures: scores may lie between 0 and 1.

    Example:
        >>> log_odds(Tally(0.0, 0.0), Tally(0.0, 0.0))
        0.0
        >>> round(math.exp(log_odds(Tally(1.0, 1.0), Tally(1.0, 0.0))), 9)   # mixtures 1/2 and 1/2, greatest likelihood 1/4
        1.0
        >>> log_odds(Tally(100.0, 90.0), Tally(100.0, 60.0)) > math.log(20)
        True
    """
    both = leader.plus(rival)
    if (leader.mean or 0.0) < (rival.mean or 0.0):
        return _log_mixture(leader) + _log_mixture(rival) - _log_greatest(leader) - _log_greatest(rival)
    return _log_mixture(leader) + _log_mixture(rival) - _log_greatest(both)


def _parts(scores: Tally) -> tuple[float, float]:
    return min(max(scores.total, 0.0), scores.weight), max(scores.weight - scores.total, 0.0)


def _log_mixture(scores: Tally) -> float:
    """Log-likelihood of the scores, mixed over the prior."""
    successes, failures = _parts(scores)
    return log_beta(successes + PRIOR, failures + PRIOR) - log_beta(PRIOR, PRIOR)


def _log_greatest(scores: Tally) -> float:
    """Log-likelihood of the scores at their own mean."""
    return sum(part * math.log(part / scores.weight) for part in _parts(scores) if part > 0.0)


def log_beta(a: float, b: float) -> float:
    """Logarithm of the Beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
