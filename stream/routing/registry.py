"""The policies by name, and what a policy is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from stream.errors import SettingsError
from stream.routing.evidence import ClassEvidence
from stream.routing.settings import RoutingSettings


class Standing(NamedTuple):
    """How an arm stands in its class.

    Attributes:
        level: its mean reward, in [0, 1].
        deviation: of what is believed of it, above 0.
        score: the level less what the ceilings charge.
    """

    level: float
    deviation: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a policy makes of a class's evidence.

    Attributes:
        probabilities: share of draws of each arm, in [0, 1], summing to 1; before the exploration share.
        reason: why, in one clause.
        standings: of each arm the numbers that a sampler made the probabilities of, where one did: a router that knows more of a
            request may then do it again.
        sharpness: of inverse-gap weighting.
    """

    probabilities: Mapping[str, float]
    reason: str
    standings: Mapping[str, Standing] | None = None
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
    from stream.routing.learned import Learned
    from stream.routing.refinable import Refinable
    from stream.routing.static import Static
    from stream.routing.thompson import Thompson
    from stream.routing.ucb import UpperConfidence

    return {
        "thompson": Thompson(),
        "contextual": Refinable(),
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
