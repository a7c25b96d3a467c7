"""What a trace's `outcome` says of its quality."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """How a request ended."""

    UNKNOWN = 0
    SUCCESS = 1
    FAILURE = 2


OUTCOMES: dict[str | None, Outcome] = {None: Outcome.UNKNOWN, "success": Outcome.SUCCESS, "failure": Outcome.FAILURE, "error": Outcome.FAILURE}
_UNKNOWN = Outcome.UNKNOWN


def read_outcome(outcome: str | None) -> Outcome:
    """Read an outcome as agents write it: `success`, `failure` or the managed agents' `error`; all else is unknown.

    Example:
        >>> [read_outcome(text).name for text in ("success", "error", "timeout", None)]
        ['SUCCESS', 'FAILURE', 'UNKNOWN', 'UNKNOWN']
    """
    return OUTCOMES.get(outcome, _UNKNOWN)
