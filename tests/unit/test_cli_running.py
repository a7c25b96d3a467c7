"""What a person reads of `eddy up`: said when it is so, and not when it only looks so."""

from __future__ import annotations

import msgspec
import pytest

from stream.cli.routes import tables_of
from stream.cli.running import first_moved
from stream.records import RoutingUpdate

BARE = {"arm": {}, "mean": None, "interval": None, "effective_count": 0.0, "rated_count": 0, "count": 0, "cost_usd": None, "latency_s": None, "state": "active"}


def update(**probabilities: float) -> RoutingUpdate:
    arms = [{"id": name, "probability": probability} | BARE for name, probability in probabilities.items()]
    said = {"query_class": "code", "fold": "f", "policy": "p", "version": (1, 1), "log_time_ms": 0, "exploration_share": 0.05, "interval_method": "", "alpha": 0.05}
    return msgspec.convert(said | {"best_arm": None, "reason": "", "arms": arms}, RoutingUpdate)


def test_decision_that_a_restart_publishes_again_has_not_moved() -> None:
    """Evidence is older by the time that the loop stood still, and the arms may stand in another order: 0.61 is 0.6 again."""
    assert first_moved({"code": update(a=0.6, b=0.4)}, {"code": update(b=0.39, a=0.61)}) is None


def test_decision_that_draws_otherwise_has_moved() -> None:
    """A third of the draws went to another arm; an arm or a class that was not there is a move as well."""
    before = {"code": update(a=0.6, b=0.4)}

    assert first_moved(before, {"code": update(a=0.3, b=0.7)}) == update(a=0.3, b=0.7)
    assert first_moved(before, {"code": update(a=0.6, b=0.3, c=0.1)}) is not None
    assert first_moved({}, before) == before["code"]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("a is likely; no arm is proven best yet: a leads, but its draws speak 3.2 to 1 against b, where it takes 40 to 1", "code: 3 traces, no arm is proven best yet: a leads"),
        ("", "code: 3 traces, no best arm is known yet"),
    ],
)
def test_routes_say_how_far_off_a_best_arm_is(reason: str, shown: str) -> None:
    """Whoever waits for the stopping rule reads it beside the shares, and not only in the record."""
    (table,) = tables_of({"classes": {"code": {"count": 3, "arms": {}, "reason": reason}}})

    assert str(table.title).startswith(shown)
