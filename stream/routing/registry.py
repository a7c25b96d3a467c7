"""The policies by name, and what a policy is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from stream.errors import SettingsError
from stream.routing.evidence import ClassEvidence
from stream.routing.settings import RoutingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a policy makes of a class's evidence.

    Attributes:
        probabilities: share of draws of each arm, in [0, 1], summing to 1; before the exploration share.
        reason: why, in one clause.
        scores: of each arm its mean reward less what the ceilings charge, where inverse-gap weighting of these gave the probabilities:
            a router that knows more of a request may then do it again.
        levels: of each arm its mean reward, where there are scores.
        sharpness: that it was done with.
    """

    probabilities: Mapping[str, float]
    reason: str
    scores: Mapping[str, float] | None = None
    levels: Mapping[str, float] = field(default_factory=dict)
    sharpness: float = 0.0


class Policy(Protocol):
    """A way to divide a class's draws among its arms: pure, and blind to the order of arms."""

    @property
    def explores(self) -> bool:
        """Whether the exploration share is added to its probabilities."""

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws among the arms of the evidence, of which there is at least one; none of them is withdrawn."""


@lru_cache(maxsize=1)
def policies() -> Mapping[str, Policy]:
    """Every policy by its name, in the order of the documentation."""
    from stream.routing.epsilon_greedy import EpsilonGreedy
    from stream.routing.heuristic import Heuristic
    from stream.routing.inverse_gap import InverseGap
    from stream.routing.learned import Learned
    from stream.routing.static import Static
    from stream.routing.thompson import Thompson
    from stream.routing.ucb import UpperConfidence

    return {
        "thompson": Thompson(),
        "contextual": InverseGap(),
        "epsilon_greedy": EpsilonGreedy(),
        "ucb": UpperConfidence(),
        "learned": Learned(),
        "heuristic": Heuristic(),
        "static": Static(),
    }


def policy_named(name: str) -> Policy:
    """Find a policy.

    Raises:
        SettingsError: there is none of that name.
    """
    known = policies()
    if name not in known:
        raise SettingsError(f"policy {name!r} is unknown, but routing knows {', '.join(known)}; set EDDY_POLICY to one of them")
    return known[name]
