"""How many samples a verdict takes."""

from __future__ import annotations

import math
from statistics import NormalDist

from stream.errors import GateError

POWER = 0.8


def pairs_needed(*, variance: float, effect: float, alpha: float, power: float = POWER) -> int:
    """Return the number of pairs by which a true effect is seen with a given chance: what `max_pairs` is best set to.

    In a Brownian approximation the best steady bet brings 1/alpha by n pairs with chance Φ(effect · root(n / variance) - root(2 ln(1/alpha)));
    that it may do so earlier, and fall back by then, makes the true chance greater by some points.

    Args:
        variance: of a difference of scores, above 0.
        effect: the true difference of the means beyond the least improvement, in (0, 1].
        alpha: the gate's error, in (0, 1).
        power: chance, in (0, 1), to see it.

    Raises:
        GateError: there is no effect, or no variance.

    Example:
        >>> pairs_needed(variance=0.1, effect=0.05, alpha=0.025)
        507
    """
    if effect <= 0 or variance <= 0:
        raise GateError(f"an effect of {effect} at a variance of {variance} is to be seen, but both must be above 0; no number of pairs shows another one")
    reach = math.sqrt(2 * math.log(1 / alpha)) + NormalDist().inv_cdf(power)
    return max(math.ceil(variance * max(reach, 0.0) ** 2 / effect**2), 1)


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
