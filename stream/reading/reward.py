"""Rewards that are read off a trace alone: the seed's, or a user's by entry point.

A deployment's reward is quality unless it names one of these: see `stream.fold.ratings` for quality.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeAlias

import msgspec

from stream.errors import SettingsError
from stream.reading.record import MICRO
from stream.records import Trace

QUALITY, SEED = "quality", "seed"
ENTRY_POINTS = "eddy.rewards"
UNKNOWN, FAULTY = -1, -2
"""In the place of a micro-reward: the function does not know; it broke its word."""
NOT_READABLE = (ValueError, TypeError, RecursionError)
"""What decoding raises."""

Reward: TypeAlias = Callable[[Trace], float | None]
"""Says what a trace earned, in [0, 1], or None where it cannot: a pure function of the trace, which gives the same answer on every machine, at every time."""

decode = msgspec.json.Decoder(Trace).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedReward:
    """How fast, how cheap and how terse an answer was, as the seed weighs them; nothing of quality.

    Attributes:
        latency: weight of 1 - latency / `max_latency_s`.
        cost: weight of 1 - cost / `max_cost_usd`.
        efficiency: weight of the share of tokens that are the answer's.
        max_latency_s: latency from which on its score is 0.
        max_cost_usd: cost from which on its score is 0.
    """

    latency: float = 0.4
    cost: float = 0.3
    efficiency: float = 0.3
    max_latency_s: float = 30.0
    max_cost_usd: float = 0.01

    def score(self, *, latency_s: float, cost_usd: float, efficiency: float) -> float:
        """Return the weighted sum of the three scores, no less than 0 and no more than 1.

        Example:
            >>> round(SeedReward().score(latency_s=15, cost_usd=0.005, efficiency=0.5), 9)
            0.5
        """
        latency = max(0.0, 1.0 - latency_s / self.max_latency_s)
        cost = max(0.0, 1.0 - cost_usd / self.max_cost_usd)
        return float(min(max(self.latency * latency + self.cost * cost + self.efficiency * efficiency, 0.0), 1.0))

    def without(self, quantities: Collection[str]) -> SeedReward:
        """Take quantities out of the reward; what is left shares their weight in proportion.

        Args:
            quantities: of `latency` and `cost`.

        Example:
            >>> SeedReward().without(["latency"])
            SeedReward(latency=0.0, cost=0.5, efficiency=0.5, max_latency_s=30.0, max_cost_usd=0.01)
        """
        weights = {name: 0.0 if name in quantities else getattr(self, name) for name in ("latency", "cost", "efficiency")}
        return SeedReward(**{name: weight / sum(weights.values()) for name, weight in weights.items()}, max_latency_s=self.max_latency_s, max_cost_usd=self.max_cost_usd)

    def __call__(self, trace: Trace) -> float | None:
        """Return a trace's reward; None where it does not say something that has weight."""
        prompt, completion = _tokens(trace)
        known = {"latency": trace.total_latency_seconds > 0, "cost": trace.cost_usd > 0, "efficiency": prompt + completion > 0}
        if not all(is_known for name, is_known in known.items() if getattr(self, name)):
            return None
        return self.score(latency_s=trace.total_latency_seconds, cost_usd=trace.cost_usd, efficiency=completion / (prompt + completion))


def _tokens(trace: Trace) -> tuple[float, float]:
    """Tokens of prompts and of completions, as the steps of generation say."""
    outputs = [output for step in trace.steps if isinstance(output := step.get("output"), Mapping)]
    prompt, completion = (sum(_amounts(outputs, name)) for name in ("prompt_tokens", "completion_tokens"))
    return prompt, completion


def _amounts(outputs: Collection[Mapping[str, Any]], name: str) -> Iterator[float]:
    for output in outputs:
        if isinstance(amount := output.get(name), int | float) and amount > 0:
            yield amount


def reward_function(name: str, without: Collection[str] = ()) -> Reward | None:
    """Return a reward by name: None for `quality`, the `seed`'s, or an entry point of the group `eddy.rewards`.

    Args:
        name: of the reward.
        without: quantities that stand under a ceiling and leave the seed's reward.

    Raises:
        SettingsError: there is none of that name.
    """
    if name == QUALITY:
        return None
    if name == SEED:
        return SeedReward().without(without)
    found = entry_points(group=ENTRY_POINTS, name=name)
    if not found:
        known = [QUALITY, SEED, *sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))]
        raise SettingsError(f"reward {name!r} is not installed, but EDDY_REWARD must be one of {known}; install the package that has it")
    loaded: Reward = next(iter(found)).load()
    return loaded


def reward_micro(reward: Reward, value: bytes) -> int:
    """Evaluate a reward, which may be a user's: it may raise anything and answer anything.

    Args:
        reward: the function.
        value: a trace as it was received, one that can be counted.

    Returns:
        The micro-reward, `UNKNOWN` or `FAULTY`. What reads a trace in part may bear fields that make none of it as a whole: unknown.
    """
    try:
        trace = decode(value)
    except NOT_READABLE:
        return UNKNOWN
    try:
        answer = reward(trace)
        if answer is None:
            return UNKNOWN
        return int(float(answer) * MICRO + 0.5) if 0.0 <= answer <= 1.0 else FAULTY
    except Exception:
        return FAULTY
