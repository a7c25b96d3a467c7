"""The gate for a canary: two arms that serve different requests, the canary a small share of them.

Each reward of the canary is set against the mean of as many of the control's as come to one of its own, in the order of each arm: a
difference in [-1, 1] whose mean is that of the arms' rewards, so that the test for pairs holds. It costs next to nothing against knowing the
control's mean: at a share of 5 % the variance of a difference is the canary's and a nineteenth of the control's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stream.errors import GateError
from stream.learning.gate.judgement import Judgement
from stream.learning.gate.paired import PairedGate
from stream.learning.gate.planning import POWER, pairs_needed


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryGate:
    """A one-sided sequential test of an arm that gets a small share of the requests.

    Attributes:
        alpha: chance, in (0, 1), that a canary which is not better by more than `min_improvement` is ever promoted.
        share: of the two arms' requests that the canary gets, in (0, .5].
        max_rewards: of the canary; without a verdict by then it is rejected. `needed` says how many it takes.
        min_improvement: of the mean reward, in [0, 1).

    Raises:
        GateError: a value is outside of its range.
    """

    alpha: float
    share: float
    max_rewards: int
    min_improvement: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 0.5:
            raise GateError(f"a canary was to get {self.share} of the requests, but its share lies in (0, .5]; correct it")
        self._pairs()

    @property
    def controls(self) -> int:
        """Rewards of the control to one of the canary.

        Example:
            >>> CanaryGate(alpha=0.025, share=0.05, max_rewards=1_000).controls
            19
        """
        return math.floor((1 - self.share) / self.share + 1e-9)

    def look(self, control: Sequence[float], canary: Sequence[float]) -> Judgement:
        """Judge by the rewards so far; rejects a canary as soon as it is proven not better.

        Args:
            control: rewards in [0, 1], in the order of their draws, since the canary began.
            canary: likewise.

        Raises:
            GateError: a reward is outside of [0, 1].
        """
        for reward in (*control, *canary):
            if not 0.0 <= reward <= 1.0:
                raise GateError(f"a reward is {reward!r}, but rewards lie in [0, 1]; scale them")
        many = self.controls
        pairs = range(min(len(canary), len(control) // many))
        return self._pairs().weigh(canary[at] - math.fsum(control[at * many : (at + 1) * many]) / many for at in pairs)

    def needed(self, *, variance: float, effect: float, power: float = POWER) -> int:
        """Say how many rewards of the canary it takes.

        Args:
            variance: of the control's rewards, in (0, 1/4]; the canary's is taken to be the same.
            effect: the true difference that is to be seen, above `min_improvement`.
            power: chance, in (0, 1), to see it by then.

        Example:
            >>> CanaryGate(alpha=0.025, share=0.05, max_rewards=1_000).needed(variance=0.21, effect=0.05)
            931
        """
        return pairs_needed(variance=variance * (1 + 1 / self.controls), effect=effect - self.min_improvement, alpha=self.alpha, power=power)

    def _pairs(self) -> PairedGate:
        return PairedGate(alpha=self.alpha, max_pairs=self.max_rewards, min_improvement=self.min_improvement)
