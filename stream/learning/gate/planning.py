"""How many samples a verdict takes."""

from __future__ import annotations

import math
from statistics import NormalDist

from stream.errors import GateError

POWER = 0.8
GREATEST_SIGNAL = 100.0
"""Standard errors of an effect at the last pair, beyond any that a power below one asks for."""
HALVINGS = 40


def pairs_needed(*, variance: float, effect: float, alpha: float, power: float = POWER) -> int:
    """Return the number of pairs by which a true effect is seen with a given chance: what `max_pairs` is best set to.

    Args:
        variance: of a difference of scores, above 0.
        effect: the true difference of the means beyond the least improvement, in (0, 1].
        alpha: the gate's error, in (0, 1).
        power: chance, in (0, 1), to see it.

    Raises:
        GateError: there is no effect, or no variance.

    Example:
        >>> pairs_needed(variance=0.1, effect=0.05, alpha=0.025)
        421
    """
    if effect <= 0 or variance <= 0:
        raise GateError(f"an effect of {effect} at a variance of {variance} is to be seen, but both must be above 0; no number of pairs shows another one")
    low, high = 0.0, GREATEST_SIGNAL
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if chance_to_see(middle, alpha) >= power else (middle, high)
    return max(math.ceil(variance * high**2 / effect**2), 1)


def chance_to_see(signal: float, alpha: float) -> float:
    """Return the chance that the gate has promoted by its last pair.

    With the bets that it makes, the logarithm of its capital is nearly a Brownian motion: over all pairs it drifts by b · signal - b²/2 and scatters
    by b, where b = root(2 ln(1/alpha)); the chance that its greatest value reaches ln(1/alpha) is known in closed form.

    Args:
        signal: the true effect in standard errors that it has at the last pair: effect · root(pairs / variance).
        alpha: the gate's error, in (0, 1).

    Source:
        M. Harrison, Brownian Motion and Stochastic Flow Systems (1985), section 1.8: the greatest value of a Brownian motion with drift.

    Example:
        >>> round(chance_to_see(0.0, 0.025), 4), round(chance_to_see(3.26, 0.025), 2)
        (0.0158, 0.8)
    """
    bet = math.sqrt(2 * math.log(1 / alpha))
    normal = NormalDist()
    return normal.cdf(signal - bet) + math.exp(min(bet * signal - bet**2 / 2, 700.0)) * normal.cdf(-signal)


def binary_variance(baseline: float, candidate: float, correlation: float) -> float:
    """Return the variance of the difference of two binary scores of a sample.

    Args:
        baseline: success rate, in [0, 1].
        candidate: success rate, in [0, 1].
        correlation: of the two scores.

    Example:
        >>> round(binary_variance(0.7, 0.75, 0.75), 4), round(binary_variance(0.7, 0.75, 0.0), 4)
        (0.0999, 0.3975)
    """
    before, after = baseline * (1 - baseline), candidate * (1 - candidate)
    return before + after - 2 * correlation * math.sqrt(before * after)
