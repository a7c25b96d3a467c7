"""Steps 1 and 2: what is new in the archive, and whether there is anything in it to learn from.

What is new is what was archived after the last cycle of the same scope: of all agents, or of one. A cycle for one agent leaves what all others
have to the next cycle for all, which then sees that agent's traces once more.
"""

from __future__ import annotations

import msgspec

from stream.archive.reader import ArchiveReader
from stream.cycles.entries import Cycle
from stream.cycles.evidence import Evidence, gather
from stream.cycles.machine import Bench, Done
from stream.cycles.states import State

MINED = "mined/"
"""How the marks begin that say up to which record the archive was mined, by scope."""


def cursor_of(agent: str) -> str:
    """Name the mark of a scope."""
    return f"{MINED}{agent or '*'}"


def mine(bench: Bench, cycle: Cycle) -> Done:
    """Read what is new, once, and keep what the other steps need of it."""
    scope = cursor_of(cycle.agent)
    since = int(bench.ledger.mark(scope, "0"))
    with ArchiveReader(bench.plan.archive) as reader:
        until = reader.indexed
        found = gather(reader, agent=cycle.agent, since=since, until=until, min_quality=bench.plan.min_quality)
    kept = {"cursor": scope, "since": since, "until": until, "draws": found.draws, "evidence": msgspec.to_builtins(found)}
    return Done(State.MINED, _said(found), {"traces": found.traces, "answers": found.answers, "since": since, "until": until}, kept=kept)


def _said(found: Evidence) -> str:
    return f"{found.traces:,} new traces of {len(found.agents):,} agents, {found.answers:,} of them with answers worth learning from"


def check(bench: Bench, cycle: Cycle) -> Done:
    """Say whether there is anything to learn from."""
    mined = bench.ledger.detail(cycle.cycle_id, State.MINED)
    nothing = "" if mined["traces"] else "there is no new trace to learn from"
    return Done(State.CHECKED, nothing or "there is something to learn from", kept={"nothing": nothing})
