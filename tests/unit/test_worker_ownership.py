"""A worker that may have been replaced writes nothing."""

from __future__ import annotations

import pytest

from stream.worker.ownership import Ownership


class Heart:
    """Beat so many seconds ago."""

    def __init__(self, age_s: float) -> None:
        self.age = age_s

    def age_s(self) -> float:
        return self.age


def ownership(*, age_s: float = 1.0, assigned: bool = True, rebalancing: bool = False) -> Ownership:
    places = {("eddy.traces", 0)} if assigned else set()
    return Ownership(Heart(age_s), session_timeout_s=6.0, assigned=lambda: places, is_rebalancing=lambda: rebalancing)


def test_ownership_is_certain_while_assigned_and_heard():
    """The usual case: assigned, no rebalance, a heartbeat a second ago."""
    assert ownership().is_certain("eddy.traces", 0)


@pytest.mark.parametrize("doubt", [{"age_s": 3.1}, {"assigned": False}, {"rebalancing": True}])
def test_ownership_is_doubted_by_each_sign_of_its_loss(doubt: dict[str, object]):
    """Half of a session of 6 s without a heartbeat, no assignment, or a rebalance: each alone keeps a worker from writing."""
    assert not ownership(**doubt).is_certain("eddy.traces", 0)  # type: ignore[arg-type]


def test_ownership_is_of_one_partition():
    """What is assigned says nothing of its neighbour."""
    assert not ownership().is_certain("eddy.traces", 1)
