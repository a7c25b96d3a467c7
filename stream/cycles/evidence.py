"""What the new traces say of agents and of routing, gathered in one pass over the archive; memory is that of the counts, whatever is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream.archive.reader import ArchivedTrace, ArchiveReader
from stream.learning.evolving.evidence import AgentEvidence

MOST_AGENTS = 1_000
"""Agents that are counted; names beyond are somebody's invention, and left out."""


class _Step(msgspec.Struct):
    step_type: str = ""
    input: dict[str, Any] = msgspec.field(default_factory=dict)
    output: dict[str, Any] = msgspec.field(default_factory=dict)


class _Trace(msgspec.Struct):
    agent: str = ""
    outcome: str | None = None
    decision: dict[str, Any] | None = None
    steps: list[_Step] = msgspec.field(default_factory=list)


_decode = msgspec.json.Decoder(_Trace).decode


@dataclass(slots=True)
class Evidence:
    """What is new.

    Attributes:
        traces: that are new.
        answers: of them, those that are good enough to learn from.
        draws: whose arm a router drew.
        agents: what is known of each.
    """

    traces: int = 0
    answers: int = 0
    draws: int = 0
    agents: dict[str, AgentEvidence] = field(default_factory=dict)

    def take(self, trace: ArchivedTrace, *, min_quality: float) -> None:
        """Take one trace; what of it cannot be read as a trace's is left out."""
        self.traces += 1
        try:
            said = _decode(trace.entry.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        score = trace.score()
        self.answers += said.outcome == "success" and score is not None and score[1] >= min_quality
        self.draws += said.decision is not None and said.decision.get("kind") == "drawn"
        if said.agent in self.agents or len(self.agents) < MOST_AGENTS:
            self.agents.setdefault(said.agent, AgentEvidence()).take(said)


def gather(reader: ArchiveReader, *, agent: str, since: int, until: int, min_quality: float) -> Evidence:
    """Read what is new.

    Args:
        reader: of the archive.
        agent: only of this one; empty: of all.
        since: number of the record after which it is new.
        until: number of the last record that counts.
        min_quality: score from which an answer is good enough to learn from.
    """
    found = Evidence()
    for trace in reader.traces(agent=agent or None, after_seq=since, newest_first=False):
        if trace.entry.seq > until:
            break
        found.take(trace, min_quality=min_quality)
    return found


def decode(kept: dict[str, Any]) -> Evidence:
    """Read evidence back from the ledger."""
    return msgspec.convert(kept, Evidence)
