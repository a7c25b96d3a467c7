"""Names on a record, and the arm that four of them make."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from stream.errors import MalformedRecordError

NAME_MAX_CHARS = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_KNOWN = 4096
"""Checked names that are remembered: some times the arms of a busy deployment, and less than a megabyte."""


class FullArm(NamedTuple):
    """The finest arm: what served a request, or what a decision names (an empty field is left open)."""

    model: str
    agent: str
    config_version: str
    adapter: str

    def allows(self, served: FullArm) -> bool:
        """Whether `served` has every field that this arm names.

        Example:
            >>> FullArm("m", "", "", "").allows(FullArm("m", "react", "3", ""))
            True
        """
        return all(not named or named == actual for named, actual in zip(self, served, strict=True))


@lru_cache(maxsize=_KNOWN)
def read_name(name: str, field: str) -> str:
    """Check a name that a record gives.

    Raises:
        MalformedRecordError: `bad_name`, longer than 256 characters or with a control character.
    """
    if len(name) > NAME_MAX_CHARS:
        raise MalformedRecordError("bad_name", f"{field} has {len(name)} characters, but at most {NAME_MAX_CHARS} are allowed: {name[:40]!r}…")
    if _CONTROL.search(name):
        raise MalformedRecordError("bad_name", f"{field} {name!r} has a control character, but names are printable text")
    return name


@lru_cache(maxsize=_KNOWN)
def read_arm(model: str, agent: str, config_version: str, adapter: str) -> FullArm:
    """Check the four names of an arm.

    Raises:
        MalformedRecordError: `bad_name`; or `bad_agent` where the agent's name could be taken for a path.
    """
    if "/" in agent or "\\" in agent or agent.startswith("."):
        raise MalformedRecordError("bad_agent", f"agent {agent[:NAME_MAX_CHARS]!r} looks like a path, but an agent's name has no slash and no leading dot")
    return FullArm(read_name(model, "model"), read_name(agent, "agent"), read_name(config_version, "config_version"), read_name(adapter, "adapter"))
