"""The contextual model: how much better or worse than in its class an arm is for one request, given the features of its text.

It is fitted by `stream.routing.contextual_fit` and used by `stream.routing.refinement`; here it only is, and travels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from operator import mul

import msgspec

from stream.records import PolicyParameters
from stream.routing.features import DIMENSION, FEATURE_HASH

NAME = "contextual"
"""Of the model among the policies' parameters on `eddy.routing`."""
COMMON = ""
"""As what a model knows arms that it does not know by name."""


class ContextualModel(msgspec.Struct, frozen=True, kw_only=True):
    """Weights by arm.

    Attributes:
        weights: of each arm, and of `COMMON`, one number for each feature and one beside them; what they say of a request moves the log
            odds of the arm's mean.
        traces: that it was fitted to.
        trust: part of what was found to tell arms apart, in [0, 1], that is in the weights.
        sample: of `advantages` for the newest requests that it was fitted to, by which the desk foresees how arms are drawn.
    """

    weights: dict[str, tuple[float, ...]] = {}
    traces: int = 0
    trust: float = 0.0
    sample: tuple[dict[str, float], ...] = ()

    def advantages(self, x: Sequence[float], among: Collection[str] | None = None) -> dict[str, float]:
        """How much better each arm is for a request of these features than its mean says, in log odds.

        Args:
            x: features.
            among: ids of the arms that are asked about; what is common to all stands for those that the model does not know. None for all.
        """
        wanted = self.weights if among is None else [arm_id for arm_id in among if arm_id in self.weights]
        if among is not None and len(wanted) < len(among) and COMMON in self.weights:
            wanted = [*wanted, COMMON]
        return {arm_id: _moved(self.weights[arm_id], x) for arm_id in wanted}

    def parameters(self, version: tuple[int, int]) -> PolicyParameters:
        """The record that routers read it from."""
        return PolicyParameters(name=NAME, version=version, feature_hash=FEATURE_HASH, parameters=msgspec.to_builtins(self))

    @classmethod
    def of(cls, parameters: PolicyParameters) -> ContextualModel | None:
        """Read it back; None where it is another policy's, or of other features.

        Raises:
            msgspec.ValidationError: it is malformed.
            ValueError: its weights are not one more finite numbers than there are features.
        """
        if parameters.name != NAME or parameters.feature_hash != FEATURE_HASH:
            return None
        model = msgspec.convert(parameters.parameters, cls)
        if any(len(weights) != DIMENSION + 1 or not all(map(math.isfinite, weights)) for weights in model.weights.values()):
            raise ValueError(f"a contextual model has weights that are not {DIMENSION + 1} finite numbers, but its feature hash says so; wait for the next one")
        return model


def _moved(weights: Sequence[float], x: Sequence[float]) -> float:
    moved: float = weights[-1] + sum(map(mul, x, weights))
    return moved
