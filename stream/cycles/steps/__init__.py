"""The eight steps of a cycle, one file for each that is more than a line; each by the state that it follows."""

from __future__ import annotations

from collections.abc import Mapping

from stream.cycles.machine import Step
from stream.cycles.states import State
from stream.cycles.steps.adapter import await_adapter, propose_adapter
from stream.cycles.steps.configs import propose_configs
from stream.cycles.steps.evaluate import evaluate
from stream.cycles.steps.measure import measure
from stream.cycles.steps.mine import check, mine
from stream.cycles.steps.routing import propose_routing
from stream.cycles.steps.settle import end, settle

STEPS: Mapping[State, Step] = {
    State.REQUESTED: mine,
    State.MINED: check,
    State.CHECKED: measure,
    State.MEASURED: propose_routing,
    State.ROUTED: propose_configs,
    State.CONFIGURED: propose_adapter,
    State.WAITING: await_adapter,
    State.TRAINED: evaluate,
    State.EVALUATED: settle,
    State.SETTLED: end,
}
