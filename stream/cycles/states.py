"""How far a cycle has come, and how far each of its candidates: two enumerations, and which changes there are.

A cycle's state names what is done. The eight steps:
1. mined: what is new in the archive was read.
2. checked: whether there is anything to learn from; where there is nothing, the cycle ends as skipped.
3. measured: the live configuration was evaluated.
4. routed: another routing policy is a candidate, or none is.
5. configured: changed configurations of agents are candidates, staged.
6. trained: an adapter is a candidate, or none is. Until its training job ends the cycle is waiting, and others may run.
7. evaluated: every candidate has its verdict.
8. settled: every candidate is promoted, held for a person, or discarded.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar


class State(StrEnum):
    """What of a cycle is done."""

    REQUESTED = "requested"
    MINED = "mined"
    CHECKED = "checked"
    MEASURED = "measured"
    ROUTED = "routed"
    CONFIGURED = "configured"
    WAITING = "waiting"
    TRAINED = "trained"
    EVALUATED = "evaluated"
    SETTLED = "settled"
    COMPLETED = "completed"
    """Ended: at least one candidate is promoted."""
    REJECTED = "rejected"
    """Ended: all candidates are discarded."""
    STAGED = "staged"
    """Ended: none is promoted, and some wait for a person's word."""
    SKIPPED = "skipped"
    """Ended: there was nothing to learn from."""
    CANCELLED = "cancelled"
    """Ended by a person's word."""
    ABORTED = "aborted"
    """Ended because it could not go on; the reason says why."""

    @property
    def number(self) -> int:
        """Which of the eight steps it is the end of; 0 where it is none's.

        Example:
            >>> State.MINED.number, State.SETTLED.number, State.WAITING.number
            (1, 8, 0)
        """
        return STEPS.index(self) + 1 if self in STEPS else 0

    @property
    def is_end(self) -> bool:
        """Whether nothing follows."""
        return self in ENDS


class Standing(StrEnum):
    """What has become of a candidate."""

    STAGED = "staged"
    ACCEPTED = "accepted"
    """Its gate lets it through."""
    CANARY = "canary"
    """It serves a small share of the requests, until its gate has seen enough of what they earn."""
    HELD = "held"
    """It waits for a person's word: for approval, for the end of a freeze, or since nothing could evaluate it."""
    PROMOTING = "promoting"
    """It is being made live: the intent, written before a live byte changes."""
    PROMOTED = "promoted"
    """It is live, and not announced yet."""
    ANNOUNCED = "announced"
    """It is live, and whoever listens was told."""
    DISCARDED = "discarded"


STEPS = (State.MINED, State.CHECKED, State.MEASURED, State.ROUTED, State.CONFIGURED, State.TRAINED, State.EVALUATED, State.SETTLED)
SUCCESSES = frozenset({State.COMPLETED, State.REJECTED, State.STAGED})
ENDS = SUCCESSES | {State.SKIPPED, State.CANCELLED, State.ABORTED}
LIVE = frozenset({Standing.PROMOTED, Standing.ANNOUNCED})

T = TypeVar("T", State, Standing)
_IN_ORDER = (State.REQUESTED, *STEPS)
_ENDED_EARLY = (State.CANCELLED, State.ABORTED)
_AFTER: dict[StrEnum, frozenset[StrEnum]] = {
    **{state: frozenset({following, *_ENDED_EARLY}) for state, following in zip(_IN_ORDER, STEPS, strict=False)},
    State.CHECKED: frozenset({State.MEASURED, State.SKIPPED, *_ENDED_EARLY}),
    State.CONFIGURED: frozenset({State.WAITING, State.TRAINED, *_ENDED_EARLY}),
    State.WAITING: frozenset({State.TRAINED, *_ENDED_EARLY}),
    State.SETTLED: SUCCESSES,
}
_BECOMES: dict[StrEnum, frozenset[StrEnum]] = {
    Standing.STAGED: frozenset({Standing.ACCEPTED, Standing.HELD, Standing.DISCARDED}),
    Standing.ACCEPTED: frozenset({Standing.CANARY, Standing.HELD, Standing.PROMOTING, Standing.DISCARDED}),
    Standing.CANARY: frozenset({Standing.CANARY, Standing.HELD, Standing.PROMOTING, Standing.DISCARDED}),
    Standing.HELD: frozenset({Standing.PROMOTING, Standing.DISCARDED}),
    Standing.PROMOTING: frozenset({Standing.PROMOTED, Standing.DISCARDED}),
    Standing.PROMOTED: frozenset({Standing.ANNOUNCED}),
}
_FOLLOWING: dict[type[StrEnum], dict[StrEnum, frozenset[StrEnum]]] = {State: _AFTER, Standing: _BECOMES}
"""Of each kind apart: members of two of them are equal where their words are."""


def is_transition_valid(source: T, target: T) -> bool:
    """Whether one follows the other, of a cycle or of a candidate.

    Once a cycle is settled it can no longer be cancelled or aborted: what was promoted stays so.

    Example:
        >>> is_transition_valid(State.CONFIGURED, State.WAITING), is_transition_valid(State.SETTLED, State.CANCELLED)
        (True, False)
        >>> is_transition_valid(Standing.STAGED, Standing.ACCEPTED)
        True
    """
    return target in _FOLLOWING[type(source)].get(source, ())
