"""Step 5: agents' configurations as the new traces suggest them, each a candidate by itself; nothing live is touched."""

from __future__ import annotations

from typing import Any

from stream.cycles.entries import Cycle
from stream.cycles.evidence import decode
from stream.cycles.machine import Bench, Done
from stream.cycles.promoting import supersede
from stream.cycles.states import State
from stream.errors import AgentConfigError
from stream.learning.evolving import live
from stream.learning.evolving.document import difference, edited, settings_of
from stream.learning.evolving.evidence import AgentEvidence
from stream.learning.evolving.pins import why_pinned
from stream.learning.evolving.suggesting import suggested_tools, suggested_turns


def propose_configs(bench: Bench, cycle: Cycle) -> Done:
    """Stage a candidate for every agent whose configuration would change."""
    evidence = decode(bench.ledger.kept(cycle.cycle_id, State.MINED)["evidence"])
    named = {agent: known for agent, known in sorted(evidence.agents.items()) if live.NAME.fullmatch(agent)}
    candidates, left = [], [f"{len(evidence.agents) - len(named)} agents have names that are no file's"] if len(named) < len(evidence.agents) else []
    for agent, known in named.items():
        try:
            before = live.read(bench.plan.config_dir, agent)
            text, summary = proposed(agent, before, known)
        except AgentConfigError as exc:
            left.append(str(exc))
            continue
        if summary and (why := why_pinned(bench.plan.config_dir, agent)):
            left.append(why)
        elif summary:
            candidates.append(_staged(bench, cycle, agent, text=text, before=before, summary=summary, traces=known.traces))
    said = "; ".join([f"{len(candidates)} of {len(named)} configurations would change", *left])
    return Done(State.CONFIGURED, said, {"candidates": candidates})


def _staged(bench: Bench, cycle: Cycle, agent: str, *, text: str, before: str | None, summary: str, traces: int) -> dict[str, Any]:
    name = f"config/{agent}"
    supersede(bench, cycle.cycle_id, name)
    bench.ledger.stage(cycle.cycle_id, name, {"toml": text, "before": live.digest(before), "summary": summary, "provenance": {"traces": traces}})
    return {"name": name, "standing": "staged", "summary": summary}


def proposed(agent: str, before: str | None, known: AgentEvidence) -> tuple[str, str]:
    """Write the configuration that the evidence suggests; keys, comments and order that a person wrote stay.

    Args:
        agent: its name.
        before: its live configuration, or None.
        known: of it.

    Returns:
        The text, and what is changed in it; nothing where the evidence suggests nothing new.
    """
    now = settings_of(before, agent)
    values = {"tools": suggested_tools(known, [str(tool) for tool in now.get("tools", [])]), "max_turns": suggested_turns(known)}
    values = {key: value for key, value in values.items() if value is not None and value != now.get(key, [])}
    return edited(before, agent, values), difference({"tools": []} | now, values)
