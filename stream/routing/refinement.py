"""Refinement: what a class's table gives its arms, moved for one request by what is known of it.

Pure, and cheap enough for a router to do at every request: a few numbers an arm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stream.records import ArmRouting, RoutingUpdate
from stream.routing.canaries import shared
from stream.routing.contextual import COMMON, ContextualModel
from stream.routing.samplers import INVERSE_GAP, divide

EDGE = 0.02
"""Least distance of a level from 0 and 1: an arm of a few traces is not moved by what it earned in them alone."""
LEAST_DEVIATION = 1e-9


def log_odds_of(level: float) -> float:
    """Log odds of a mean reward that is taken to be no nearer than `EDGE` to 0 and 1.

    Example:
        >>> log_odds_of(0.5), log_odds_of(1.0) == log_odds_of(0.98)
        (0.0, True)
    """
    inside = min(max(level, EDGE), 1.0 - EDGE)
    return math.log(inside / (1.0 - inside))


def foreseen(update: RoutingUpdate, model: ContextualModel) -> dict[str, float]:
    """How often each arm will be drawn by routers that have the model, as far as the model's sample tells."""
    table, basis = {arm.id: arm.probability for arm in update.arms}, Basis.of(update)
    if not basis.arms or not model.sample:
        return table
    drawn = [basis.shares(advantages) for advantages in model.sample]
    means = {arm_id: math.fsum(shares) / len(drawn) for arm_id, shares in zip(basis.arms, zip(*drawn, strict=True), strict=True)}
    return table | shared(means, update.arms)


class Standing(NamedTuple):
    """What a table says of an arm to a router that refines it.

    Attributes:
        score: what it is drawn by, for an ordinary request.
        floor: the probability that exploration gives it.
        log_odds: of its mean reward.
        level: the mean reward that these are the log odds of.
        deviation: of what is believed of it, above 0.
    """

    score: float
    floor: float
    log_odds: float
    level: float
    deviation: float


class Basis(NamedTuple):
    """What a class's table gives routers to refine: its arms that may be drawn, and how.

    Attributes:
        arms: by their ids; none where the table alone is drawn from.
        sampler: a name of `stream.routing.samplers`.
        sharpness: of inverse-gap weighting.
    """

    arms: Mapping[str, Standing]
    sampler: str = INVERSE_GAP
    sharpness: float = 0.0

    @classmethod
    def of(cls, update: RoutingUpdate) -> Basis:
        """Read it off a table."""
        known = {arm.id: _standing(arm) for arm in update.arms if arm.score is not None}
        return cls(known, update.sampler, update.sharpness)

    def among(self, arm_ids: Iterable[str]) -> Basis:
        """Leave only some of its arms, in this order."""
        return Basis({arm_id: self.arms[arm_id] for arm_id in arm_ids}, self.sampler, self.sharpness)

    def shares(self, advantages: Mapping[str, float]) -> list[float]:
        """Divide the draws for one request: by the sampler, of the moved scores, and what exploration gives each arm.

        Args:
            advantages: of `ContextualModel.advantages`; an arm that it does not know is moved as all arms are.

        Example:
            >>> half = Standing(score=0.5, floor=0.05, log_odds=0.0, level=0.5, deviation=0.1)
            >>> shares = Basis({"a": half, "b": half}, INVERSE_GAP, 16.0).shares({"a": math.log(3.0), "b": -math.log(3.0)})
            >>> [round(share, 9) for share in shares]     # to .75 and .25: nine tenths of (9/10, 1/10), and .05
            [0.86, 0.14]
        """
        common = advantages.get(COMMON, 0.0)
        nets = [arm.score - arm.level + chance(arm.log_odds + advantages.get(arm_id, common)) for arm_id, arm in self.arms.items()]
        shares = divide(self.sampler, nets, [arm.deviation for arm in self.arms.values()], self.sharpness)
        left = 1.0 - math.fsum(arm.floor for arm in self.arms.values())
        return [left * share + arm.floor for share, arm in zip(shares, self.arms.values(), strict=True)]


def _standing(arm: ArmRouting) -> Standing:
    score = arm.score or 0.0
    log_odds = log_odds_of(score if arm.level is None else arm.level)
    return Standing(score, arm.floor, log_odds, chance(log_odds), max(arm.deviation or 0.0, LEAST_DEVIATION))


def chance(log_odds: float) -> float:
    """The chance of log odds.

    Example:
        >>> chance(0.0), round(chance(math.log(3.0)), 9)
        (0.5, 0.75)
    """
    return 0.5 + 0.5 * math.tanh(0.5 * log_odds)
