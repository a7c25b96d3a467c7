"""Posteriors: what an arm's mean reward may be, given its evidence; each a density that quadrature can integrate."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stream.routing.evidence import ArmEvidence

TAIL = math.log(1e8)
"""A support leaves out at most e^-TAIL, a hundred-millionth, of a posterior on either side."""
UNIFORM_VARIANCE = 1 / 12
"""Variance of a mean, and of a score, of which only [0, 1] is known."""
VARIANCE_WEIGHT = 2.0
"""Traces that the assumed variance of a graded score counts as: two, so that the first equal scores do not look certain."""

SHIFT = 2.0**-10
"""Distances are multiples of a thousandth of the range of rewards, so that few different ones come up and quadrature finds its rows again."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Points to evaluate densities at, with the logarithms that Beta densities need; one grid equals only itself.

    Attributes:
        points: ascending.
        widths: of the panels that the points are the nodes of, where they are.
        before: how many points lie at or below 0.
        after: how many lie at or above 1.
        logs: log x and log(1 - x) of the points between.
    """

    points: tuple[float, ...]
    widths: tuple[float, ...]
    before: int
    after: int
    logs: tuple[tuple[float, float], ...]

    @classmethod
    def at(cls, points: Sequence[float], widths: Sequence[float] = ()) -> Grid:
        """Prepare the points."""
        before, end = bisect_right(points, 0.0), bisect_left(points, 1.0)
        logs = tuple((math.log(x), math.log1p(-x)) for x in points[before:end])
        return cls(tuple(points), tuple(widths), before, len(points) - end, logs)


class Posterior(Protocol):
    """A distribution of an arm's mean reward; equal ones compare equal and hash alike."""

    def __hash__(self) -> int: ...

    @property
    def deviation(self) -> float:
        """Standard deviation, above 0."""

    @property
    def support(self) -> tuple[float, float]:
        """Where all but `TAIL` of it lies."""

    @property
    def jumps(self) -> tuple[float, ...]:
        """Points other than 0 and 1 at which its density may jump."""

    def densities(self, grid: Grid) -> list[float]:
        """The density at every point of the grid; zero outside of where the distribution lives."""


@dataclass(frozen=True, slots=True)
class Beta:
    """Beta distribution; both parameters at least 1, so that its density is bounded.

    Example:
        >>> round(Beta(1.0, 3.0).densities(Grid.at([0.5]))[0], 9)   # 3 (1 - x)^2
        0.75
    """

    a: float
    b: float

    @property
    def jumps(self) -> tuple[float, ...]:
        """None but 0 and 1."""
        return ()

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return math.sqrt(self._variance)

    @property
    def _variance(self) -> float:
        total = self.a + self.b
        return self.a / total * (self.b / total) / (total + 1)

    @property
    def support(self) -> tuple[float, float]:
        """Where all but `TAIL` of it lies.

        Source: M. Skorski, Bernstein-type bounds for beta distribution, Modern Stochastics 10 (2023), theorem 1: the tail on
        the side that is skewed to falls as exp(-d²/2(v + cd/3)), the other one as exp(-d²/2v).
        """
        total = self.a + self.b
        mean, skew = self.a / total, 2 * (self.b - self.a) / (total * (total + 2))
        low = mean - _reach(self._variance, max(-skew, 0.0))
        high = mean + _reach(self._variance, max(skew, 0.0))
        return max(low, 0.0), min(high, 1.0)

    def densities(self, grid: Grid) -> list[float]:
        """The density at every point of the grid."""
        a, b = self.a - 1.0, self.b - 1.0
        scale = math.lgamma(self.a + self.b) - math.lgamma(self.a) - math.lgamma(self.b)
        exp = math.exp
        inside = [exp(scale + a * log + b * complement) for log, complement in grid.logs]
        return [0.0] * grid.before + inside + [0.0] * grid.after


def _reach(variance: float, skew: float) -> float:
    """Solve d² / 2(v + cd/3) = TAIL for d."""
    linear = TAIL * skew / 3
    return linear + math.sqrt(linear * linear + 2 * variance * TAIL)


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal distribution.

    Example:
        >>> round(Normal(0.5, 0.1).densities(Grid.at([0.5]))[0], 4)   # 1 / (0.1 √2π)
        3.9894
    """

    mean: float
    deviation: float

    @property
    def jumps(self) -> tuple[float, ...]:
        """None."""
        return ()

    @property
    def support(self) -> tuple[float, float]:
        """Where all but `TAIL` of it lies: exp(-z²/2) bounds either tail."""
        reach = self.deviation * math.sqrt(2 * TAIL)
        return self.mean - reach, self.mean + reach

    def densities(self, grid: Grid) -> list[float]:
        """The density at every point of the grid."""
        mean, rate = self.mean, 0.5 / self.deviation**2
        scale = 1.0 / (self.deviation * math.sqrt(2 * math.pi))
        exp = math.exp
        return [scale * exp(-rate * (x - mean) ** 2) for x in grid.points]


@dataclass(frozen=True, slots=True)
class Shifted:
    """Another distribution, moved.

    Example:
        >>> moved = Shifted(Beta(1.0, 3.0), -0.25)
        >>> moved.support[1] <= 0.75, round(moved.densities(Grid.at([0.25]))[0], 9)
        (True, 0.75)
    """

    of: Beta | Normal
    distance: float

    @classmethod
    def by(cls, of: Beta | Normal, distance: float) -> Beta | Normal | Shifted:
        """Move a distribution by about so much: to a multiple of `SHIFT`."""
        steps = round(distance / SHIFT)
        return cls(of, steps * SHIFT) if steps else of

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return self.of.deviation

    @property
    def support(self) -> tuple[float, float]:
        """Where all but `TAIL` of it lies."""
        low, high = self.of.support
        return low + self.distance, high + self.distance

    @property
    def jumps(self) -> tuple[float, ...]:
        """Where its density may jump, or bend sharply: the ends of [0, 1], moved, that it reaches."""
        return tuple(end + self.distance for end, reached in zip((0.0, 1.0), self.of.support, strict=True) if reached == end)

    def densities(self, grid: Grid) -> list[float]:
        """The density at every point of the grid."""
        return self.of.densities(Grid.at([x - self.distance for x in grid.points]))


def posterior(arm: ArmEvidence) -> Beta | Normal:
    """What the arm's mean reward may be: Beta where every score is 0 or 1, Normal where scores are graded.

    Both start from the uniform distribution on [0, 1], then take the arm's traces in other classes (capped) and its own.

    Example:
        >>> from stream.records import Arm
        >>> from stream.routing.evidence import Tally
        >>> posterior(ArmEvidence(arm=Arm(model="m"), id="m", drawn=Tally(10.0, 7.0, 7.0)))
        Beta(a=8.0, b=4.0)
    """
    own, prior = arm.believed, arm.prior
    scores = own.plus(prior)
    if not arm.graded:
        return Beta(1.0 + max(scores.total, 0.0), 1.0 + max(scores.weight - scores.total, 0.0))
    variance = _score_variance(own.weight, own.total, own.squares)
    precision = 1 / UNIFORM_VARIANCE + scores.weight / variance
    mean = (0.5 / UNIFORM_VARIANCE + scores.total / variance) / precision
    return Normal(mean, 1 / math.sqrt(precision))


def _score_variance(weight: float, total: float, squares: float) -> float:
    """Variance of one score: the sample's, drawn towards that of a uniform score by `VARIANCE_WEIGHT` traces."""
    spread = max(squares - total * total / weight, 0.0) if weight > 0 else 0.0
    return (spread + VARIANCE_WEIGHT * UNIFORM_VARIANCE) / (weight + VARIANCE_WEIGHT)
