"""What evidence suggests for an agent: nothing before there is enough of it, and tools by what each surely does."""

from __future__ import annotations

from stream.learning.evolving.evidence import AgentEvidence

LEAST_EVIDENCE = 20
"""Calls of a tool, and traces of an agent that succeeded, below which nothing is concluded from them."""
Z = 1.96
TURNS_SHARE, SPARE_TURNS, LEAST_TURNS = 0.75, 2, 5
"""As the seed has it: three quarters of the traces, and two more, but five at the least."""


def suggested_tools(known: AgentEvidence, now: list[str], *, least: int = LEAST_EVIDENCE) -> list[str]:
    """Order the tools by the success rate that each surely has; one that surely fails more often than not is left out, one that little is known of stays."""
    sure = {name: interval(succeeded, calls) for name, (calls, succeeded) in known.tools.items() if calls >= least}
    ranked = sorted(sure, key=lambda name: (-sure[name][0], name))
    return [name for name in ranked if sure[name][1] >= 0.5] + [name for name in now if name not in sure]


def suggested_turns(known: AgentEvidence, *, least: int = LEAST_EVIDENCE) -> int | None:
    """Return how many turns the agent should have; None where too few of its traces succeeded."""
    return max(LEAST_TURNS, known.calls_at(TURNS_SHARE) + SPARE_TURNS) if sum(known.calls) >= least else None


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
