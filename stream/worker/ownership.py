"""Whether this worker may write for a partition right now."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol

SILENCE_SHARE = 0.5
"""Of the session time-out, how long the group may not have answered: a group gives a member's partitions away only after a whole session of silence."""


class HeartbeatAge(Protocol):
    """Knows when the group last heard of this member."""

    def age_s(self) -> float:
        """Seconds since the last answered heartbeat was sent."""


class Ownership:
    """Certain only while assigned, not rebalancing, and heard by the group a short while ago.

    It cannot be proof: between the check and the broker's append the process may stand still. What a zombie writes
    is therefore harmless as well (see `docs/guarantees.md`).

    Args:
        heartbeat: of this member.
        session_timeout_s: after which the group gives its partitions away.
        assigned: the (topic, partition) pairs assigned now.
        is_rebalancing: whether an assignment is under way.
    """

    def __init__(self, heartbeat: HeartbeatAge, *, session_timeout_s: float, assigned: Callable[[], Container[tuple[str, int]]], is_rebalancing: Callable[[], bool]) -> None:
        self._heartbeat, self._limit_s = heartbeat, session_timeout_s * SILENCE_SHARE
        self._assigned, self._is_rebalancing = assigned, is_rebalancing

    def is_certain(self, topic: str, partition: int) -> bool:
        """Whether to write for a partition of a topic."""
        return self._heartbeat.age_s() < self._limit_s and not self._is_rebalancing() and (topic, partition) in self._assigned()
