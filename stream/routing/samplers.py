"""Samplers: from a few numbers an arm to the probability that it is drawn with, in closed form or by quadrature, so that propensities are exact.

A router does this for every request whose scores it has moved; a desk does it for the table of a class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stream.routing.posterior import Normal
from stream.routing.quadrature import best_probabilities

MAILLARD, INVERSE_GAP, THOMPSON = "maillard", "inverse_gap", "thompson"
SAMPLERS = (MAILLARD, INVERSE_GAP, THOMPSON)
"""The default first."""
GREED = 7.0
"""Times that evidence counts in Maillard sampling, times the root of the number of arms: the more there are, the more trying all of them
costs. With 1, as published, most of what a pass over InterCode SQL's twelve arms loses is lost in trying (.646 of .745, .709 with 25); with 20
for two arms, one of three unlucky draws is given up for good (RouteLLM MMLU, one seed in six). docs/LOG.md has the figures."""


def divide(sampler: str, nets: Sequence[float], deviations: Sequence[float], sharpness: float) -> list[float]:
    """Divide draws among arms.

    Args:
        sampler: one of `SAMPLERS`.
        nets: mean rewards, less what is charged; one or more.
        deviations: of what is believed of each, above 0.
        sharpness: of inverse-gap weighting.
    """
    if sampler == INVERSE_GAP:
        return inverse_gap(nets, sharpness)
    return maillard(nets, deviations) if sampler == MAILLARD else thompson(nets, deviations)


def maillard(nets: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """Draw an arm the less often, the more deviations of its own it is behind: exp(-g · gap² / 2 deviation²), in shares, with g = `GREED` · √arms.

    What is little known is not given up, however much is known of the others, and arms that are as good as the best cost nothing.

    Source: O.-A. Maillard, Apprentissage séquentiel, 2013, chapter 3; J. Bian and K.-S. Jun, Maillard sampling: Boltzmann exploration done
    optimally, AISTATS 2022. Departure: evidence counts g times, since horizons are short.

    Example:
        Of four arms, a gap of .1 at a deviation of .1 is exp(-7) of the best one's share.
        >>> [round(share, 5) for share in maillard([0.5, 0.4, -9.0, -9.0], [0.02, 0.1, 0.1, 0.1])]
        [0.99909, 0.00091, 0.0, 0.0]
    """
    greatest, greed = max(nets), GREED * math.sqrt(len(nets))
    weights = [math.exp(-0.5 * greed * ((greatest - net) / deviation) ** 2) for net, deviation in zip(nets, deviations, strict=True)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def thompson(nets: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """Draw an arm as often as it is the best one, where each is normally distributed: linear Thompson sampling, its probabilities computed.

    Source: S. Agrawal and N. Goyal, Thompson sampling for contextual bandits with linear payoffs, ICML 2013. Departure: what is uncertain
    is the arm's level; the model that moves it is taken as fitted.

    Example:
        >>> [round(share, 6) for share in thompson([0.5, 0.5], [0.1, 0.1])]
        [0.5, 0.5]
    """
    return best_probabilities([Normal(net, deviation) for net, deviation in zip(nets, deviations, strict=True)])


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
