"""Names on a record: of its query class, of its rater, and of the arm that four of them make."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from stream.errors import MalformedRecordError
from stream.records import ANY_CLASS, OVERFLOW

NAME_MAX_CHARS = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RESERVED = {ANY_CLASS: "every class", OVERFLOW: "what is beyond the caps"}
_KNOWN = 4096
"""Checked names that are remembered: some times the arms of a busy deployment, and less than a megabyte."""


class FullArm(NamedTuple):
    """The finest arm: what served a request, or what a decision names (an empty field is left open)."""

    model: str
    agent: str
    config_version: str
    adapter: str

    def allows(self, served: tuple[str, str, str, str]) -> bool:
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
def read_class(name: str) -> str:
    """Check the name of a query class, whoever gave it.

    Raises:
        MalformedRecordError: `bad_name`, as `read_name`, or one under which Eddy keeps what is of no class.
    """
    if name in _RESERVED:
        raise MalformedRecordError("bad_name", f"query_class is {name!r}, but that name stands for {_RESERVED[name]}; give the class another")
    return read_name(name, "query_class")


@lru_cache(maxsize=_KNOWN)
def read_arm(model: str, agent: str, config_version: str, adapter: str) -> FullArm:
    """Check the four names of an arm.

    Raises:
        MalformedRecordError: `bad_name`, which the overflow's is too; or `bad_agent` where the agent's name could be taken for a path.
    """
    if "/" in agent or "\\" in agent or agent.startswith("."):
        raise MalformedRecordError("bad_agent", f"agent {agent[:NAME_MAX_CHARS]!r} looks like a path, but an agent's name has no slash and no leading dot")
    if model == OVERFLOW:
        raise MalformedRecordError("bad_name", f"model is {model!r}, but that name stands for {_RESERVED[model]}; give the model another")
    return FullArm(read_name(model, "model"), read_name(agent, "agent"), read_name(config_version, "config_version"), read_name(adapter, "adapter"))
