"""Who plays a set: chooses an arm for a query, and learns the outcome of that arm alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Player(Protocol):
    """A router with what it has learned."""

    def choose(self, query: str, query_class: str) -> tuple[int, float]:
        """Arm index and propensity."""

    def learn(self, reward: float, cost_usd: float | None, latency_s: float | None) -> None:
        """Outcome of the last choice; what is not known of it is None."""


class GrowingPlayer(Player, Protocol):
    """A player that can be given one more arm."""

    def add_arm(self, name: str) -> None:
        """Let an arm be chosen from now on; its index is the number of arms so far."""


class RankingPlayer(Player, Protocol):
    """A player that can say by how much the first of two arms is the better one."""

    def gap(self, query: str, query_class: str) -> float:
        """Score of arm 0 minus score of arm 1, by what was learned so far."""


class Maker(Protocol):
    """Makes a player that has learned nothing yet."""

    def __call__(self, arms: Sequence[str], *, max_cost_usd: float | None, max_latency_s: float | None, seed: int) -> Player: ...
