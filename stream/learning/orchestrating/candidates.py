"""The configurations that a cycle proposes, each by itself, and what becomes of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stream.errors import AgentConfigError
from stream.learning.evolving import live
from stream.learning.evolving.document import difference, settings_of
from stream.learning.evolving.evolver import with_values
from stream.learning.evolving.pins import why_pinned


@dataclass(slots=True)
class Candidate:
    """A configuration that may become live.

    Attributes:
        agent: whose it is.
        text: what it is to be; empty where it cannot be made.
        before: what tells apart what it was made from.
        summary: what it changes.
        traces: that recommend it.
        status: what has become of it.
        reason: why.
        version: under which it is live; 0: it is not.
    """

    agent: str
    text: str = ""
    before: str = ""
    summary: str = ""
    traces: int = 0
    status: Literal["staged", "promoted", "discarded"] = "staged"
    reason: str = ""
    version: int = 0

    def discard(self, reason: str) -> None:
        """Say that it does not become live."""
        self.status, self.reason = "discarded", reason

    def promote(self, config_dir: Path, provenance: dict[str, Any]) -> None:
        """Make it live, where what is live is still what it was made from."""
        origin = provenance | {"traces": self.traces, "changes": self.summary, "verdict": self.reason}
        try:
            self.version = live.change(config_dir, self.agent, self._unless_changed, provenance=origin)
            self.status = "promoted"
        except (AgentConfigError, OSError) as exc:
            self.discard(str(exc))

    def report(self) -> dict[str, Any]:
        """For the result of a cycle."""
        return {"agent": self.agent, "status": self.status, "changes": self.summary, "reason": self.reason, "version": self.version or None}

    def _unless_changed(self, now: str | None) -> str:
        if live.digest(now) != self.before:
            raise AgentConfigError(f"the live configuration of {self.agent} has changed while its candidate was evaluated, but that change would be lost; run another cycle")
        return self.text


def proposed(config_dir: Path, recommendations: Iterable[dict[str, Any]]) -> list[Candidate]:
    """Make a candidate of every recommended configuration that changes something; one that cannot be made is discarded, and says why."""
    candidates = [_candidate(config_dir, each) for each in merged(recommendations)]
    return [each for each in candidates if each.summary or each.status == "discarded"]


def merged(recommendations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make one recommendation an agent out of those for its classes: all their tools, the class with most traces first, and the most turns.

    Example:
        >>> found = [{"recommended_agent": "a", "recommended_tools": ["x"], "recommended_max_turns": 5, "sample_count": 1},
        ...          {"recommended_agent": "a", "recommended_tools": ["y", "x"], "recommended_max_turns": 7, "sample_count": 2}]
        >>> merged(found)[0]
        {'recommended_agent': 'a', 'recommended_tools': ['y', 'x'], 'recommended_max_turns': 7, 'sample_count': 3}
    """
    agents: dict[str, dict[str, Any]] = {}
    for each in sorted(recommendations, key=lambda found: -int(found.get("sample_count", 0))):
        name = each.get("recommended_agent", "default")
        known = agents.setdefault(name, {"recommended_agent": name, "recommended_tools": [], "recommended_max_turns": 0, "sample_count": 0})
        known["recommended_tools"] = list(dict.fromkeys([*known["recommended_tools"], *each.get("recommended_tools", [])]))
        known["recommended_max_turns"] = max(known["recommended_max_turns"], each.get("recommended_max_turns", 10))
        known["sample_count"] += each.get("sample_count", 0)
    return [agents[name] for name in sorted(agents)]


def _candidate(config_dir: Path, found: dict[str, Any]) -> Candidate:
    made = Candidate(str(found["recommended_agent"]), traces=found["sample_count"])
    try:
        now = live.read(config_dir, live.checked(made.agent))
        made.text = with_values(now, made.agent, {"tools": found["recommended_tools"], "max_turns": found["recommended_max_turns"]})
        made.before, made.summary = live.digest(now), difference(settings_of(now, made.agent), settings_of(made.text, made.agent))
        if why := why_pinned(config_dir, made.agent):
            made.discard(why)
    except AgentConfigError as exc:
        made.discard(str(exc))
    return made


def texts(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Return what candidates would make of the live configuration, by agent."""
    return {each.agent: each.text for each in candidates}
