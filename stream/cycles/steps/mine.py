"""Steps 1 and 2: what is new in the archive, and whether there is anything in it to learn from.

What is new is what was archived, or rated, after the last cycle of the same scope: of all agents, or of one. What that cycle had too little of to
conclude anything from is carried on to this one. A cycle for one agent leaves what all others have to the next cycle for all, which then sees that
agent's traces once more.
"""

from __future__ import annotations

import json

import msgspec

from stream.archive.reader import ArchiveReader
from stream.cycles.entries import Cycle
from stream.cycles.evidence import Evidence, decode, gather
from stream.cycles.machine import Bench, Done
from stream.cycles.states import State
from stream.cycles.steps.routing import LEAST_DRAWS
from stream.learning.evolving.suggesting import LEAST_EVIDENCE
from stream.learning.mining.answers import Period

MINED, CARRIED, TRAINED = "mined/", "carried/", "trained/"
"""How the marks begin, by scope, that say up to which record the archive was mined, what evidence was carried on, and up to where adapters were trained."""


def scope_of(agent: str) -> str:
    """Name a scope."""
    return agent or "*"


def mine(bench: Bench, cycle: Cycle) -> Done:
    """Read what is new, once, and keep what the other steps need of it."""
    scope = scope_of(cycle.agent)
    since = int(bench.ledger.mark(MINED + scope, "0"))
    carried = decode(json.loads(bench.ledger.mark(CARRIED + scope, "{}")))
    with ArchiveReader(bench.plan.archive) as reader:
        until = reader.indexed
        found = gather(reader, Period(after_seq=since, until=until, agent=cycle.agent or None), min_quality=bench.plan.min_quality, carried=carried)
    kept = {"cursor": MINED + scope, "since": since, "until": until, "draws": found.draws, "evidence": msgspec.to_builtins(found)}
    return Done(State.MINED, _said(found), {"traces": found.traces, "answers": found.answers, "late": found.late, "since": since, "until": until}, kept=kept)


def marks_of(bench: Bench, cycle: Cycle) -> dict[str, str]:
    """Name what the next cycle of the same scope begins with; one that waited for long takes nothing back of what others have mined meanwhile."""
    mined, trained = (bench.ledger.kept(cycle.cycle_id, state) for state in (State.MINED, State.TRAINED))
    marks = {} if trained is None else {TRAINED + scope_of(cycle.agent): json.dumps(trained)}
    if mined["until"] < int(bench.ledger.mark(mined["cursor"], "0")):
        return marks
    carried = decode(mined.get("evidence", {})).carried(least=LEAST_EVIDENCE, least_draws=LEAST_DRAWS)
    return marks | {mined["cursor"]: str(mined["until"]), CARRIED + scope_of(cycle.agent): json.dumps(msgspec.to_builtins(carried))}


def _said(found: Evidence) -> str:
    late = f", and {found.late:,} older ones that were rated since" if found.late else ""
    return f"{found.traces:,} new traces, {found.answers:,} of them with answers worth learning from{late}; {len(found.agents):,} agents are known of"


def check(bench: Bench, cycle: Cycle) -> Done:
    """Say whether there is anything to learn from."""
    mined = bench.ledger.detail(cycle.cycle_id, State.MINED)
    nothing = "" if mined["traces"] or mined["late"] else "there is no new trace and no new rating to learn from"
    return Done(State.CHECKED, nothing or "there is something to learn from", kept={"nothing": nothing})
