"""The stopping rule: when a class's draws prove one arm better than every other, however often one looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from stream.routing.evidence import ArmEvidence, ClassEvidence, Tally

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
    Draws alone count; traces that no router drew prove nothing. Where an arm's mean has changed only its draws since then count, and
    whoever may choose where evidence begins finds some that speaks for anything: so each place at which it could have begun has its part of the
    error, 1 / s(s + 1) of it for the place after s - 1 traces.

    Args:
        evidence: of a class, arms that may not be drawn left out.
        alpha: chance, in (0, 1), that an arm is ever named that is not the best.
    """
    drawn = [arm for arm in evidence.arms if arm.drawn.weight > 0]
    if len(evidence.arms) < 2 or not drawn:
        return None
    first = min(drawn, key=lambda arm: (-arm.drawn.total / arm.drawn.weight, arm.id))
    odds, rival = min((log_odds(first.drawn, arm.drawn) - _log_places(first) - _log_places(arm), arm.id) for arm in evidence.arms if arm is not first)
    return Lead(leader=first.id, rival=rival, odds=math.exp(min(odds, LARGEST_LOG)), needed=len(evidence.arms) / alpha)


def _log_places(arm: ArmEvidence) -> float:
    """What it takes from the odds that an arm's evidence begins where it changed; nothing where it never did."""
    if arm.rated_since_change is None or arm.changed_s is None:
        return 0.0
    place = max(arm.rated_count - arm.rated_since_change, 0) + 1
    return math.log(place * (place + 1))


def log_odds(leader: Tally, rival: Tally) -> float:
    """Logarithm of the evidence that the leader's mean is above the rival's.

    For each arm the likelihood of a Bernoulli sequence, mixed over a Beta prior and divided by that at the true mean, is a
    martingale (at most one for scores between 0 and 1), however the arms are drawn; so is the product for two arms. Its least
    value over all pairs of means with the leader's not above the rival's is below that at the true pair, if that is such a
    pair. Where the leader's mean is the greater one, the least value stands where both are equal to the mean of all.

    It takes some 70 % of the draws that separate intervals take, of which each must leave the other's arm.

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
    mixed = _log_mixture(leader.weight, leader.total) + _log_mixture(rival.weight, rival.total)
    if leader.total * rival.weight < rival.total * leader.weight:
        return mixed - _log_greatest(leader.weight, leader.total) - _log_greatest(rival.weight, rival.total)
    return mixed - _log_greatest(leader.weight + rival.weight, leader.total + rival.total)


@lru_cache(maxsize=8192)
def _log_mixture(weight: float, total: float) -> float:
    """Log-likelihood of scores, mixed over the prior."""
    successes = min(max(total, 0.0), weight)
    return log_beta(successes + PRIOR, weight - successes + PRIOR) - log_beta(PRIOR, PRIOR)


def _log_greatest(weight: float, total: float) -> float:
    """Log-likelihood of scores at their own mean."""
    successes = min(max(total, 0.0), weight)
    failures = weight - successes
    return (successes * math.log(successes / weight) if successes > 0.0 else 0.0) + (failures * math.log(failures / weight) if failures > 0.0 else 0.0)


def log_beta(a: float, b: float) -> float:
    """Logarithm of the Beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
