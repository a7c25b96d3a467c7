"""The seed's reward: latency, cost and efficiency, and nothing of quality."""

from __future__ import annotations

from typing import Any

from stream.learning.contracts import RewardFunction, RoutingContext
from stream.reading.reward import SeedReward


class HeuristicRewardFunction(RewardFunction):
    """A weighted sum of how fast, how cheap and how terse an answer was.

    Args:
        weight_latency: of the latency's score.
        weight_cost: of the cost's score.
        weight_efficiency: of the share of tokens that are the answer's.
        max_latency: seconds at which the latency's score is 0; above 0.
        max_cost: dollars at which the cost's score is 0; above 0.

    Raises:
        ValueError: a maximum is not above 0.
    """

    def __init__(
        self,
        *,
        weight_latency: float = 0.4,
        weight_cost: float = 0.3,
        weight_efficiency: float = 0.3,
        max_latency: float = 30.0,
        max_cost: float = 0.01,
    ) -> None:
        if not (max_latency > 0 and max_cost > 0):
            raise ValueError(f"max_latency is {max_latency} and max_cost {max_cost}, but both are divided by; give numbers above 0")
        self.weight_latency, self.weight_cost, self.weight_efficiency = weight_latency, weight_cost, weight_efficiency
        self.max_latency, self.max_cost = max_latency, max_cost

    def compute(self, context: RoutingContext, model_key: str, response: str, **kwargs: Any) -> float:
        """Return the reward.

        Args:
            context: not looked at.
            model_key: not looked at.
            response: not looked at.
            **kwargs: `latency_seconds`, `cost_usd`, `prompt_tokens`, `completion_tokens`; 0 where absent.

        Example:
            >>> round(HeuristicRewardFunction().compute(RoutingContext(), "m", "", latency_seconds=15, prompt_tokens=10, completion_tokens=10), 9)
            0.65
        """
        prompt, completion = kwargs.get("prompt_tokens", 0), kwargs.get("completion_tokens", 0)
        efficiency = completion / (prompt + completion) if prompt + completion else 0.5
        return self._reward.score(latency_s=kwargs.get("latency_seconds", 0.0), cost_usd=kwargs.get("cost_usd", 0.0), efficiency=efficiency)

    @property
    def _reward(self) -> SeedReward:
        return SeedReward(
            latency=self.weight_latency, cost=self.weight_cost, efficiency=self.weight_efficiency, max_latency_s=self.max_latency, max_cost_usd=self.max_cost
        )
