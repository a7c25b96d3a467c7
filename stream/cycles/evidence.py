"""What the new traces say of agents and of routing, gathered in one pass over the archive; memory is that of the counts, whatever is read.

What is too little to conclude anything from is carried on to the next cycle, and counts there with what is new then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream.archive.reader import ArchiveReader
from stream.learning.evolving.evidence import AgentEvidence
from stream.learning.mining.answers import New, Period, news
from stream.learning.mining.choosing import is_good

MOST_AGENTS = 1_000
"""Agents that are counted; names beyond are somebody's invention, and left out."""


@dataclass(slots=True)
class Evidence:
    """What is known since the last cycle, and what that one carried on.

    Attributes:
        traces: that are new.
        answers: of them, those that are good enough to learn from.
        late: traces that an earlier cycle has read, and that are good enough since they were rated.
        draws: whose arm a router drew.
        agents: what is known of each.
    """

    traces: int = 0
    answers: int = 0
    late: int = 0
    draws: int = 0
    agents: dict[str, AgentEvidence] = field(default_factory=dict)

    def take(self, new: New, *, min_quality: float) -> None:
        """Take what is new of one trace."""
        good = is_good(new.said.outcome, new.score, min_quality)
        if new.is_late:
            self.late += good and not is_good(new.said.outcome, new.before, min_quality)
            return
        self.traces += 1
        self.answers += good
        self.draws += isinstance(new.said.decision, dict) and new.said.decision.get("kind") == "drawn"
        if new.said.agent in self.agents or len(self.agents) < MOST_AGENTS:
            self.agents.setdefault(new.said.agent, AgentEvidence()).take(new.said)

    def carried(self, *, least: int, least_draws: int) -> Evidence:
        """Return what is too little to conclude from, so that it counts again in the next cycle.

        Args:
            least: calls of a tool, or traces of an agent that succeeded, from which something is concluded.
            least_draws: draws from which policies are compared.
        """
        agents = {name: few for name, known in self.agents.items() if (few := known.below(least)) is not None}
        return Evidence(draws=self.draws if self.draws < least_draws else 0, agents=agents)


def gather(reader: ArchiveReader, period: Period, *, min_quality: float, carried: Evidence) -> Evidence:
    """Read what is new.

    Args:
        reader: of the archive.
        period: whose traces are read.
        min_quality: score from which an answer is good enough to learn from.
        carried: from the last cycle; what is new is added to it.
    """
    for new in news(reader, period):
        carried.take(new, min_quality=min_quality)
    return carried


def decode(kept: dict[str, Any]) -> Evidence:
    """Read evidence back from the ledger."""
    return msgspec.convert(kept, Evidence)
