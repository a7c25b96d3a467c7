"""Making a candidate live exactly once, whatever ends the process on the way.

1. The intent is noted, with what the candidate consists of. A crash before leaves it as it was.
2. It is made live: for a configuration, its file is replaced in one move. A crash before, or between this and the next step, leaves the intent,
   and the next process sees by the live bytes which of both it was.
3. It is noted as live, together with what is to be announced of it.
4. The learner announces it, and notes that it did.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from stream.cycles.entries import Candidate, Cycle, Message
from stream.cycles.machine import Bench
from stream.cycles.states import Standing
from stream.errors import CycleError
from stream.learning.evolving import live
from stream.learning.evolving.pins import why_pinned
from stream.records import Adapter, AgentConfig, Override
from stream.topics import ADAPTERS, AGENT_CONFIGS, OVERRIDES

TOLD = ("why", "verdict", "version", "estimate", "interval", "n", "alpha", "summary")
"""Of what is noted of a candidate, what is told of it."""


@dataclass(frozen=True, slots=True)
class Live:
    """A candidate that is live now.

    Attributes:
        said: one sentence on it.
        send: what tells others of it.
    """

    said: str
    send: Message


def promote(bench: Bench, candidate: Candidate) -> str:
    """Make an accepted or held candidate live; returns one sentence on what came of it."""
    if why := outdated(bench, candidate):
        bench.ledger.move(candidate, Standing.DISCARDED, {"why": why})
        return why
    version = live.next_version(bench.plan.config_dir, candidate.subject) if candidate.kind == "config" else None
    bench.ledger.move(candidate, Standing.PROMOTING, {"version": version} if version else {})  # 1
    return finish(bench, bench.ledger.candidate(candidate.id))


def finish(bench: Bench, candidate: Candidate) -> str:
    """Finish a promotion of which the intent is noted, however far it came; returns one sentence on what came of it."""
    try:
        made = _MAKERS[candidate.kind](bench, candidate)  # 2
    except CycleError as exc:
        bench.ledger.move(candidate, Standing.DISCARDED, {"why": str(exc)})
        return str(exc)
    bench.ledger.move(candidate, Standing.PROMOTED, send=made.send)  # 3
    return made.said


def outdated(bench: Bench, candidate: Candidate) -> str:
    """Say why a candidate must not become live: what it changes has changed since it was staged, or is pinned; empty where it may."""
    if candidate.kind == "config" and (why := why_pinned(bench.plan.config_dir, candidate.subject)):
        return why
    if candidate.kind != "config" or live.digest(live.read(bench.plan.config_dir, candidate.subject)) == candidate.detail["before"]:
        return ""
    return f"the live configuration of {candidate.subject} has changed since this was staged, so that it would undo that; the next cycle starts from what is live now"


def carry_out_words(bench: Bench) -> None:
    """Finish promotions that were begun, and do what persons said of held candidates."""
    for candidate in bench.ledger.standing(Standing.PROMOTING):
        tell(bench, candidate, finish(bench, candidate))
    for candidate in bench.ledger.standing(Standing.HELD, Standing.CANARY):
        if candidate.word == "approve":
            tell(bench, candidate, promote(bench, candidate))
        elif candidate.word == "discard":
            bench.ledger.move(candidate, Standing.DISCARDED, {"why": "a person discarded it"})
            tell(bench, candidate, "a person discarded it")


def tell(bench: Bench, candidate: Candidate, said: str) -> None:
    """Tell what has become of one candidate, apart from the steps of its cycle."""
    now = bench.ledger.candidate(candidate.id)
    what = "promoted" if now.standing is Standing.PROMOTED else str(now.standing)
    bench.ledger.tell(candidate.cycle_id, what, {"said": f"{candidate.name}: {said}", "candidates": [told(now)]})


def told(candidate: Candidate) -> dict[str, Any]:
    """What is told of a candidate; nobody is sent whole configurations or scores."""
    standing = Standing.PROMOTED if candidate.standing is Standing.ANNOUNCED else candidate.standing
    return {"name": candidate.name, "standing": str(standing), **{name: candidate.detail[name] for name in TOLD if name in candidate.detail}}


def discard(bench: Bench, cycle: Cycle, reason: str) -> None:
    """Discard what a cycle that ends has not settled, and leave nothing of it."""
    for candidate in bench.ledger.candidates(cycle.cycle_id):
        if candidate.standing in (Standing.STAGED, Standing.ACCEPTED):
            bench.ledger.move(candidate, Standing.DISCARDED, {"why": reason})
    clear(bench, cycle.cycle_id)


def supersede(bench: Bench, cycle_id: str, name: str) -> None:
    """Discard what earlier cycles hold under a name that a cycle proposes anew."""
    for candidate in bench.ledger.standing(Standing.HELD, Standing.CANARY):
        if candidate.name == name and candidate.cycle_id != cycle_id:
            bench.ledger.move(candidate, Standing.DISCARDED, {"why": f"cycle {cycle_id} proposes a newer one"})
            tell(bench, candidate, f"cycle {cycle_id} proposes a newer one")


def clear(bench: Bench, cycle_id: str) -> None:
    """Remove what a cycle has on disk beside the ledger."""
    shutil.rmtree(bench.plan.folder(cycle_id), ignore_errors=True)


def _config(bench: Bench, candidate: Candidate) -> Live:
    agent, toml, version = candidate.subject, str(candidate.detail["toml"]), int(candidate.detail["version"])
    live.replace(bench.plan.config_dir, agent, toml, version=version, before=candidate.detail["before"], provenance=_provenance(candidate))
    record = AgentConfig(agent=agent, version=version, toml=toml)
    return Live(f"version {version} of {agent} is live", _message(AGENT_CONFIGS.name, agent, record))


def _provenance(candidate: Candidate) -> dict[str, Any]:
    return {"cycle": candidate.cycle_id, **candidate.detail.get("provenance", {}), "verdict": candidate.detail.get("why", "")}


def _routing(bench: Bench, candidate: Candidate) -> Live:
    override = Override(kind="policy", policy=candidate.subject, reason=f"learning cycle {candidate.cycle_id}", given_at=bench.clock())
    return Live(f"policy {candidate.subject} decides from now on; `eddy policy default` takes it back", _message(OVERRIDES.name, override.key, override))


def _adapter(bench: Bench, candidate: Candidate) -> Live:
    adapter = msgspec.convert(candidate.detail["record"] | {"status": "live"}, Adapter)
    return Live(f"adapter {adapter.name} may be served", _message(ADAPTERS.name, adapter.name, adapter))


def _message(topic: str, key: str, record: msgspec.Struct) -> Message:
    return Message(0, topic, key, msgspec.json.encode(record).decode())


_MAKERS: dict[str, Callable[[Bench, Candidate], Live]] = {"config": _config, "routing": _routing, "adapter": _adapter}
