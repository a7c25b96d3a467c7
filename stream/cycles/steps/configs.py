"""Step 5: agents' configurations as the new traces suggest them, each a candidate by itself; nothing live is touched."""

from __future__ import annotations

from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from stream.cycles import live
from stream.cycles.entries import Cycle
from stream.cycles.evidence import AgentEvidence, decode
from stream.cycles.machine import Bench, Done
from stream.cycles.promoting import supersede
from stream.cycles.states import State

LEAST_CALLS = 20
"""Calls of a tool, and traces of an agent that succeeded, below which nothing is concluded from them."""
Z = 1.96
TURNS_SHARE, SPARE_TURNS, LEAST_TURNS = 0.75, 2, 5
"""As the seed has it: three quarters of the traces, and two more, but five at the least."""


def propose_configs(bench: Bench, cycle: Cycle) -> Done:
    """Stage a candidate for every agent whose configuration would change."""
    evidence = decode(bench.ledger.kept(cycle.cycle_id, State.MINED)["evidence"])
    named = {agent: known for agent, known in sorted(evidence.agents.items()) if live.NAME.fullmatch(agent)}
    candidates, left = [], [f"{len(evidence.agents) - len(named)} agents have names that are no file's"] if len(named) < len(evidence.agents) else []
    for agent, known in named.items():
        before = live.read(bench.plan.config_dir, agent)
        try:
            text, summary = proposed(agent, before, known)
        except TOMLKitError as exc:
            left.append(f"the live configuration of {agent} cannot be read ({exc})")
            continue
        if summary:
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
    document = tomlkit.parse(before or "")
    table = document.setdefault("agent", tomlkit.table())
    table.setdefault("name", agent)
    now = [str(tool) for tool in table.get("tools", [])]
    tools, changes = suggested_tools(known, now), []
    if tools != now:
        table["tools"] = tools
        changes.append(f"tools {now} become {tools}")
    turns = suggested_turns(known)
    if turns is not None and turns != table.get("max_turns"):
        changes.append(f"max_turns {table.get('max_turns', 'unset')} becomes {turns}")
        table["max_turns"] = turns
    return tomlkit.dumps(document), "; ".join(changes)


def suggested_tools(known: AgentEvidence, now: list[str]) -> list[str]:
    """Order the tools by the success rate that each surely has; one that surely fails more often than not is left out, one that little is known of stays."""
    sure = {name: interval(succeeded, calls) for name, (calls, succeeded) in known.tools.items() if calls >= LEAST_CALLS}
    ranked = sorted(sure, key=lambda name: (-sure[name][0], name))
    return [name for name in ranked if sure[name][1] >= 0.5] + [name for name in now if name not in sure]


def suggested_turns(known: AgentEvidence) -> int | None:
    """Return how many turns the agent should have; None where too few of its traces succeeded."""
    return max(LEAST_TURNS, known.calls_at(TURNS_SHARE) + SPARE_TURNS) if sum(known.calls) >= LEAST_CALLS else None


def interval(successes: int, calls: int) -> tuple[float, float]:
    """Bound a rate, with 95 %.

    Source: E. B. Wilson, Probable inference, Journal of the American Statistical Association 22 (1927).

    Example:
        >>> [round(bound, 3) for bound in interval(15, 20)]
        [0.531, 0.888]
    """
    rate, share = successes / calls, Z * Z / calls
    middle, half = rate + share / 2, Z * (rate * (1 - rate) / calls + share / calls / 4) ** 0.5
    return (middle - half) / (1 + share), (middle + half) / (1 + share)
