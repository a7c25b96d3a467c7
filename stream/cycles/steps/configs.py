"""Step 5: agents' configurations as the new traces suggest them, each a candidate by itself."""

from __future__ import annotations

import tomlkit

from stream.cycles import live
from stream.cycles.entries import Cycle
from stream.cycles.machine import Bench, Done
from stream.cycles.promoting import supersede
from stream.cycles.states import State


def propose_configs(bench: Bench, cycle: Cycle) -> Done:
    """Stage a candidate for every agent whose configuration would change."""
    evidence, names = bench.ledger.kept(cycle.cycle_id, State.MINED)["evidence"], []
    for agent, tools in sorted(evidence["tools"].items()):
        before = live.read(bench.plan.config_dir, agent)
        document = tomlkit.parse(before or f'[agent]\nname = "{agent}"\n')
        table = document["agent"]
        table["tools"] = [name for name, (uses, wins) in sorted(tools.items(), key=lambda item: -item[1][1] / item[1][0]) if uses >= 20 and wins / uses > 0.75]
        text = tomlkit.dumps(document)
        if text != before:
            names.append(f"config/{agent}")
            supersede(bench, cycle.cycle_id, names[-1])
            bench.ledger.stage(cycle.cycle_id, names[-1], {"toml": text, "before": live.digest(before), "summary": f"tools {list(table['tools'])}"})
    return Done(State.CONFIGURED, f"{len(names)} configurations would change", {"candidates": [{"name": name, "standing": "staged"} for name in names]})
