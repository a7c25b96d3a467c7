"""What is known of one agent: counts, whatever number of traces they come from."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Protocol

MOST_TOOLS = 200
"""Tools of one agent that are counted; names beyond are somebody's invention, and left out."""
MOST_CALLS = 100
"""Calls of a trace that are told apart."""


class Observed(Protocol):
    """What is read of a trace, in whatever form it comes."""

    @property
    def outcome(self) -> str | None:
        """`success`, `failure`, or unknown."""

    @property
    def steps(self) -> Any:
        """Each with `step_type`, `input` and `output`."""


@dataclass(slots=True)
class AgentEvidence:
    """What is known of one agent.

    Attributes:
        traces: of it.
        tools: by name, calls of which it is known whether they succeeded, and how many did.
        calls: traces that succeeded, by the number of calls that they took; the last place is of all beyond.
    """

    traces: int = 0
    tools: dict[str, list[int]] = field(default_factory=dict)
    calls: list[int] = field(default_factory=lambda: [0] * (MOST_CALLS + 1))

    def take(self, trace: Observed) -> None:
        """Take one trace."""
        self.traces += 1
        calls = [step for step in trace.steps if step.step_type == "tool_call"]
        if trace.outcome == "success":
            self.calls[min(len(calls), MOST_CALLS)] += 1
        for step in calls:
            name, succeeded = step.input.get("tool"), step.output.get("success")
            if isinstance(name, str) and isinstance(succeeded, bool) and (name in self.tools or len(self.tools) < MOST_TOOLS):
                counts = self.tools.setdefault(name, [0, 0])
                counts[0] += 1
                counts[1] += succeeded

    def below(self, least: int) -> AgentEvidence | None:
        """Return the part that is too little to conclude anything from; None where there is none.

        Args:
            least: calls of a tool, or traces that succeeded, from which something is concluded.
        """
        tools = {name: list(counts) for name, counts in self.tools.items() if counts[0] < least}
        calls = list(self.calls) if sum(self.calls) < least else [0] * (MOST_CALLS + 1)
        return AgentEvidence(traces=self.traces, tools=tools, calls=calls) if tools or any(calls) else None

    def calls_at(self, share: float) -> int:
        """Return how many calls a share of the traces that succeeded came by with."""
        running, total = 0, sum(self.calls)
        sums = [running := running + count for count in self.calls]
        return bisect_left(sums, share * total)
