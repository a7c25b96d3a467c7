"""What a router draws from for one query class, worked out once for each update so that a draw takes microseconds.

Pure: the random number comes from the caller.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from stream.errors import MalformedRecordError
from stream.records import Arm, ArmRouting, RoutingUpdate

PINNED_POLICY = "pinned"
"""Policy of an update that an operator's pin decided: its arm is given, not drawn."""
NEVER_DRAWN = ("withdrawn", "shadow")
"""States of arms that serve nobody: one is gone, the other runs beside without answering."""


class Draw(NamedTuple):
    """An arm that was drawn, and from what."""

    arm: Arm
    propensity: float
    """Probability of this arm among the candidates, in (0, 1]."""
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """An update, ready to be drawn from.

    Attributes:
        update: where it comes from.
        policy_version: the update's version as a decision names it, `EPOCH.COUNTER`.
        ids: the arms that can be drawn: those of positive probability that are not withdrawn.
        arms: the same arms.
        weights: their probabilities as published.
        shares: their probabilities, made to sum to 1.
        cumulative: running sums of the weights.
        withdrawn: ids of the arms that must not serve.
        pinned: the arm that an operator's pin gives, else None.
    """

    update: RoutingUpdate
    policy_version: str
    ids: tuple[str, ...]
    arms: tuple[Arm, ...]
    weights: tuple[float, ...]
    shares: tuple[float, ...]
    cumulative: tuple[float, ...]
    withdrawn: frozenset[str]
    pinned: Arm | None

    @classmethod
    def of(cls, update: RoutingUpdate) -> RoutingTable:
        """Work out the table of an update.

        Raises:
            MalformedRecordError: a probability is negative or no number.
        """
        if faulty := [arm.id for arm in update.arms if not (math.isfinite(arm.probability) and arm.probability >= 0)]:
            raise MalformedRecordError("bad_probability", f"class {update.query_class!r}, arms {faulty}")
        drawn = [arm for arm in update.arms if arm.probability > 0 and arm.state not in NEVER_DRAWN]
        weights = tuple(arm.probability for arm in drawn)
        return cls(
            update=update,
            policy_version=f"{update.version[0]}.{update.version[1]}",
            ids=tuple(arm.id for arm in drawn),
            arms=tuple(arm.arm for arm in drawn),
            weights=weights,
            shares=tuple(weight / math.fsum(weights) for weight in weights),
            cumulative=tuple(accumulate(weights)),
            withdrawn=frozenset(arm.id for arm in update.arms if arm.state == "withdrawn"),
            pinned=_pinned(update, drawn),
        )

    def draw(self, u: float, candidates: Collection[str] | None = None) -> Draw | None:
        """Draw an arm.

        Args:
            u: uniform in [0, 1).
            candidates: ids that the draw is restricted to; None for all.

        Returns:
            None where no candidate has a positive probability.
        """
        if candidates is not None:
            return self._draw_among(u, candidates)
        if not self.ids:
            return None
        at = _position(self.cumulative, u)
        return Draw(self.arms[at], self.shares[at], self.ids)

    def _draw_among(self, u: float, candidates: Collection[str]) -> Draw | None:
        chosen = [at for at, arm_id in enumerate(self.ids) if arm_id in candidates]
        if not chosen:
            return None
        cumulative = tuple(accumulate(self.weights[at] for at in chosen))
        at = chosen[_position(cumulative, u)]
        return Draw(self.arms[at], self.weights[at] / cumulative[-1], tuple(self.ids[at] for at in chosen))


def _position(cumulative: tuple[float, ...], u: float) -> int:
    return min(bisect_right(cumulative, u * cumulative[-1]), len(cumulative) - 1)


def _pinned(update: RoutingUpdate, drawn: list[ArmRouting]) -> Arm | None:
    return max(drawn, key=lambda arm: arm.probability).arm if update.policy == PINNED_POLICY and drawn else None
