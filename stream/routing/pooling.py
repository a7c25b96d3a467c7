"""Pooling: what the traces of all classes say of an arm, and how much of it holds in a class that has few of its own.

A class's mean reward of an arm is taken for the arm's own part, the class's part (some classes are hard for every arm), and what is
particular to both. How much the last varies, estimated from the classes themselves, says what the arm's other classes weigh.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stream.routing.evidence import NO_SCORES, Tally

CLASS_PRIOR = 5.0
"""Traces that a class needs before half of what its own traces differ by is taken for its part."""
ASSUMED_STRENGTH = 10.0
"""Traces that other classes weigh where nothing can be estimated yet: as many as the evidence of a class needs to lead."""
ASSUMED_WEIGHT = 20.0
"""Traces that this assumption weighs beside those that speak for or against it."""
LEAST_STRENGTH = 4.0
ROUNDS = 2
"""Of fitting classes and arms in turn; a third changes nothing that shows."""
LEAST_VARIANCE = 0.02
"""Of a score, so that arms which never fail yet are not taken for certain."""


class Pooled(NamedTuple):
    """What all classes say together.

    Attributes:
        arms: of each arm, its traces in all classes: weight, and the sum of their scores less the part of their class.
        mean: of all scores, in [0, 1].
        strength: traces that other classes weigh at most in one.
    """

    arms: Mapping[str, tuple[float, float]] = {}
    mean: float = 0.5
    strength: float = ASSUMED_STRENGTH

    def part_of(self, own: Mapping[str, Tally]) -> float:
        """The part of a class: how much better, in reward, its traces did than their arms do elsewhere."""
        weight = math.fsum(tally.weight for tally in own.values())
        excess = math.fsum(tally.total - tally.weight * self.mean_of(arm_id) for arm_id, tally in own.items())
        return excess / (weight + CLASS_PRIOR)

    def mean_of(self, arm_id: str) -> float:
        """The arm's own part, drawn to the mean of all scores by one trace."""
        weight, total = self.arms.get(arm_id, (0.0, 0.0))
        return (total + self.mean) / (weight + 1.0)

    def prior(self, arm_id: str, own: Tally, part: float) -> Tally:
        """What an arm's other classes say of it, for a class of this part and with these own traces of the arm."""
        weight, total = self.arms.get(arm_id, (0.0, 0.0))
        others = max(weight - own.weight, 0.0)
        if others <= 0.0:
            return NO_SCORES
        mean = (total - (own.total - own.weight * part) + self.mean) / (others + 1.0) + part
        counts = min(others, self.strength)
        return Tally(counts, counts * min(max(mean, 0.0), 1.0), counts * min(max(mean, 0.0), 1.0) ** 2)


def pool(classes: Iterable[Mapping[str, Tally]], most: float) -> Pooled:
    """Fit arms and classes.

    Args:
        classes: the scores of each class's arms.
        most: the greatest strength, in traces.

    Source: the moment estimator of a random interaction in a two-way layout; S. Searle, G. Casella, C. McCulloch, Variance
    Components, 1992, chapter 5. Departure: drawn to `ASSUMED_STRENGTH`, since a few classes of a few traces say little of it.

    Example:
        >>> easy, hard = {"a": Tally(50.0, 45.0, 45.0), "b": Tally(50.0, 35.0, 35.0)}, {"a": Tally(50.0, 25.0, 25.0), "b": Tally(50.0, 15.0, 15.0)}
        >>> both = pool([easy, hard], 200.0)                        # `a` is better by .2 in either class
        >>> both.strength, round(both.prior("a", Tally(), both.part_of({"b": Tally(50.0, 15.0, 15.0)})).mean, 2)
        (200.0, 0.52)
    """
    layout = [own for own in classes if own]
    scored = [tally for own in layout for tally in own.values()]
    weight = math.fsum(tally.weight for tally in scored)
    if weight <= 0.0:
        return Pooled()
    mean = math.fsum(tally.total for tally in scored) / weight
    pooled, parts = Pooled(_arms(layout, [0.0] * len(layout)), mean), [0.0] * len(layout)
    for _ in range(ROUNDS):
        parts = [pooled.part_of(own) for own in layout]
        pooled = Pooled(_arms(layout, parts), mean)
    return pooled._replace(strength=_strength(layout, parts, pooled, most))


def _arms(layout: list[Mapping[str, Tally]], parts: list[float]) -> dict[str, tuple[float, float]]:
    arms: dict[str, tuple[float, float]] = {}
    for own, part in zip(layout, parts, strict=True):
        for arm_id, tally in own.items():
            weight, total = arms.get(arm_id, (0.0, 0.0))
            arms[arm_id] = (weight + tally.weight, total + tally.total - tally.weight * part)
    return arms


def _strength(layout: list[Mapping[str, Tally]], parts: list[float], pooled: Pooled, most: float) -> float:
    """The variance of one score, over that of what is particular to a class and an arm."""
    excesses, noises, weights = [], [], []
    for own, part in zip(layout, parts, strict=True):
        for arm_id, tally in own.items():
            if tally.weight > 0.0:
                mean = min(max(pooled.mean_of(arm_id), 0.0), 1.0)
                variance = max(mean * (1.0 - mean), LEAST_VARIANCE)
                excesses.append((tally.total - tally.weight * (mean + part)) ** 2 / tally.weight - variance)
                noises.append(variance * tally.weight)
                weights.append(tally.weight)
    weight = math.fsum(weights)
    variance = math.fsum(noises) / weight
    particular = (math.fsum(excesses) + ASSUMED_WEIGHT * variance / ASSUMED_STRENGTH) / (weight + ASSUMED_WEIGHT)
    return min(max(variance / particular, LEAST_STRENGTH), most) if particular > 0.0 else most
