"""What a router draws from for one query class, worked out once for each update so that a draw takes microseconds.

Pure: the random number comes from the caller.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import NamedTuple

from stream.errors import MalformedRecordError
from stream.records import Arm, ArmRouting, RoutingUpdate
from stream.routing.refinement import Basis

PINNED_POLICY = "pinned"
"""Policy of an update that an operator's pin decided: its arm is given, not drawn."""
NEVER_DRAWN = ("withdrawn", "shadow")
"""States of arms that serve nobody: one is gone, the other runs beside without answering."""
GREATEST_PROBABILITY = 1.0 + 1e-6
"""Rounding included."""
MAX_SUBSETS = 64
"""Sets of candidates remembered for each table; more differ from request to request, and are worked out anew."""


class Draw(NamedTuple):
    """An arm that was drawn, and from what."""

    arm: Arm
    propensity: float
    """Probability of this arm among the candidates, in (0, 1]."""
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lottery:
    """Arms and their shares, ready to be drawn from.

    Attributes:
        ids: the arms, each of positive share.
        arms: the same arms.
        shares: their probabilities, which sum to 1.
        cumulative: running sums of the weights that the shares came from.
        share_of: the same shares by id.
    """

    ids: tuple[str, ...]
    arms: tuple[Arm, ...]
    shares: tuple[float, ...]
    cumulative: tuple[float, ...]
    share_of: dict[str, float] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "share_of", dict(zip(self.ids, self.shares, strict=True)))

    @classmethod
    def over(cls, arms: Iterable[ArmRouting]) -> Lottery:
        """Make shares of the arms' probabilities."""
        chosen = tuple(arms)
        weights = [arm.probability for arm in chosen]
        return cls(
            ids=tuple(arm.id for arm in chosen),
            arms=tuple(arm.arm for arm in chosen),
            shares=tuple(weight / math.fsum(weights) for weight in weights),
            cumulative=tuple(accumulate(weights)),
        )

    def draw(self, u: float) -> Draw | None:
        """Draw with a number that is uniform in [0, 1); None where there is no arm."""
        if not self.ids:
            return None
        at = min(bisect_right(self.cumulative, u * self.cumulative[-1]), len(self.ids) - 1)
        return Draw(self.arms[at], self.shares[at], self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """An update, ready to be drawn from.

    Attributes:
        update: where it comes from.
        policy_version: the update's version as a decision names it, `EPOCH.COUNTER`.
        whole: all arms that can be drawn: those of positive probability that are not withdrawn.
        withdrawn: ids of the arms that must not serve.
        pinned: the arm that an operator's pin gives, else None.
        canaries: the arms that get a part of others' draws, by their ids.
        basis: what a router that knows more of a request may move: see `stream.client.refining`.
        subsets: the lotteries over candidates that were asked for before; callers ask for the same few again and again.
    """

    update: RoutingUpdate
    policy_version: str
    whole: Lottery
    withdrawn: frozenset[str]
    pinned: Arm | None
    canaries: Mapping[str, ArmRouting]
    basis: Basis
    subsets: dict[tuple[str, ...], Lottery] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, update: RoutingUpdate) -> RoutingTable:
        """Work out the table of an update.

        Raises:
            MalformedRecordError: a probability is none, an arm has no name or stands twice, or a score is no number.
        """
        if faulty := [arm.id for arm in update.arms if not (arm.id and 0 <= arm.probability <= GREATEST_PROBABILITY and 0 <= arm.canary_share <= 1)]:
            raise MalformedRecordError("bad_probability", f"class {update.query_class!r}, arms {faulty}")
        if len({arm.id for arm in update.arms}) < len(update.arms):
            raise MalformedRecordError("same_arm_twice", f"class {update.query_class!r}")
        basis = Basis.of(update)
        if not all(map(math.isfinite, (*chain.from_iterable(basis.arms.values()), update.sharpness))):
            raise MalformedRecordError("bad_score", f"class {update.query_class!r}")
        return cls(
            update=update,
            basis=basis,
            policy_version=f"{update.version[0]}.{update.version[1]}",
            whole=Lottery.over(_drawable(update)),
            withdrawn=frozenset(arm.id for arm in update.arms if arm.state == "withdrawn"),
            pinned=_pinned(update),
            canaries={arm.id: arm for arm in update.arms if arm.canary_of},
        )

    def draw(self, u: float, candidates: tuple[str, ...] | None = None) -> Draw | None:
        """Draw an arm.

        Args:
            u: uniform in [0, 1).
            candidates: ids that the draw is restricted to; None for all.

        Returns:
            None where no candidate has a positive probability.
        """
        return self.lottery(candidates).draw(u)

    def lottery(self, candidates: tuple[str, ...] | None = None) -> Lottery:
        """Give what is drawn from, for a draw that is restricted to candidates."""
        if candidates is None:
            return self.whole
        if (lottery := self.subsets.get(candidates)) is None:
            wanted = frozenset(candidates)
            lottery = Lottery.over(arm for arm in _drawable(self.update) if arm.id in wanted)
            if len(self.subsets) >= MAX_SUBSETS:
                self.subsets.clear()
            self.subsets[candidates] = lottery
        return lottery


def _drawable(update: RoutingUpdate) -> list[ArmRouting]:
    return [arm for arm in update.arms if arm.probability > 0 and arm.state not in NEVER_DRAWN]


def _pinned(update: RoutingUpdate) -> Arm | None:
    arms = _drawable(update)
    return max(arms, key=lambda arm: arm.probability).arm if update.policy == PINNED_POLICY and arms else None
