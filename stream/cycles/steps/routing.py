"""Step 4: of the policies that follow the evidence, the one that would have earned most on the draws to tune by; step 7 judges it by others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.cycles.entries import Cycle
from stream.cycles.inbox import POLICY
from stream.cycles.machine import Bench, Done
from stream.cycles.promoting import supersede
from stream.cycles.states import State

if TYPE_CHECKING:
    from stream.routing.off_policy import Evaluation

ALPHA = 0.1
LEAST_DRAWS = 500
"""Draws among what is new below which policies are not compared: a half of them, rated, could tell ten points apart at best."""


def propose_routing(bench: Bench, cycle: Cycle) -> Done:
    """Stage another policy, or none."""
    mined = bench.ledger.kept(cycle.cycle_id, State.MINED)
    if cycle.agent:
        return Done(State.ROUTED, "a cycle for one agent leaves routing as it is")
    if mined["draws"] < LEAST_DRAWS:
        return Done(State.ROUTED, f"{mined['draws']:,} new requests were drawn by a router, but policies are compared from {LEAST_DRAWS:,} on")
    from stream.cycles.policies import TRIED, value_of  # NumPy: a quarter of a second that most cycles need not spend

    now = bench.ledger.mark(POLICY, "") or bench.plan.routing.policy
    found = {name: value_of(bench.plan, name, "tune", alpha=ALPHA, until=mined["until"]) for name in TRIED if name != now}
    gains = {name: gain for name, evaluation in found.items() if (gain := _gain(evaluation)) is not None and gain > 0}
    if not gains:
        return Done(State.ROUTED, f"none of {', '.join(found)} would have earned more than was earned")
    best = max(gains, key=gains.__getitem__)
    summary = f"policy {best} would have earned {gains[best]:+.4f} a request on the draws to tune by"
    supersede(bench, cycle.cycle_id, f"routing/{best}")
    bench.ledger.stage(cycle.cycle_id, f"routing/{best}", {"summary": summary})
    return Done(State.ROUTED, summary, {"gains": gains})


def _gain(evaluation: Evaluation) -> float | None:
    difference = evaluation.reward.difference
    return difference.value if evaluation.can_tell and difference is not None else None
