"""An agent's configuration as a document: what a person wrote in it, keys, comments and their order, stays."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from stream.errors import AgentConfigError

NEW = {"name": "", "tools": [], "max_turns": 10, "temperature": 0.3, "system_prompt": ""}
"""A configuration that nobody has written yet, as the seed has it."""


def settings_of(text: str | None, agent: str) -> dict[str, Any]:
    """Return the table `[agent]` of a configuration as plain values; empty where there is none.

    Raises:
        AgentConfigError: it is no TOML, or `agent` is no table.
    """
    table = _parsed(text, agent).get("agent", {})
    return dict(table.unwrap()) if table else {}


def edited(text: str | None, agent: str, values: Mapping[str, Any]) -> str:
    """Write values into the table `[agent]` of a configuration; one that is there already is not touched, nor is anything else.

    Args:
        text: the configuration; None: there is none yet.
        agent: its name, which stands as `name` where no other does.
        values: by key, in the order in which new ones are written.

    Raises:
        AgentConfigError: the text is no TOML, or a value cannot be written as TOML.
    """
    document = _parsed(text, agent)
    table = document.setdefault("agent", tomlkit.table())
    changed = {key: value for key, value in ({"name": table.get("name", agent)} | dict(values)).items() if key not in table or table[key] != value}
    try:
        for key, value in changed.items():
            _put(table, key, value)
        return _checked(tomlkit.dumps(document), changed) if changed else text or ""
    except (TOMLKitError, tomllib.TOMLDecodeError, ValueError, TypeError) as exc:
        raise AgentConfigError(f"the configuration of {agent} cannot have {changed} ({exc}), but its values must be ones that TOML knows; correct them") from exc


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Say in words which settings changed; empty where none did.

    Example:
        >>> difference({"tools": ["a"]}, {"tools": ["a", "b"], "max_turns": 5})
        "tools ['a'] become ['a', 'b']; max_turns unset becomes 5"
    """
    changed = [key for key in after if key != "name" and before.get(key) != after[key]]
    return "; ".join(f"{key} {before.get(key, 'unset')} {'become' if key == 'tools' else 'becomes'} {after[key]}" for key in changed)


def _put(table: Any, key: str, value: Any) -> None:
    """Set a value; of a list whose items stay in their order only those are touched that come or go, so that comments beside the others stay."""
    now = table.get(key)
    if not isinstance(now, Array) or not isinstance(value, list):
        table[key] = value
        return
    left = [item for item in now if item in value]
    if value[: len(left)] != left:
        table[key] = value
        return
    for place in reversed(range(len(now))):
        if now[place] not in value:
            del now[place]
    for item in value[len(left) :]:
        now.append(item)


def _parsed(text: str | None, agent: str) -> tomlkit.TOMLDocument:
    try:
        document = tomlkit.parse(text or "")
    except TOMLKitError as exc:
        raise AgentConfigError(f"the live configuration of {agent} cannot be read ({exc}), but it must be TOML; correct its file") from exc
    if not isinstance(document.get("agent", {}), Mapping):
        raise AgentConfigError(f"the live configuration of {agent} has a value under `agent`, but a table `[agent]` must stand there; correct its file")
    return document


def _checked(text: str, values: Mapping[str, Any]) -> str:
    """Return what was written, where another reader of TOML reads the same from it."""
    text.encode()
    read = tomllib.loads(text)["agent"]
    if any(read[key] != value for key, value in values.items()):
        raise ValueError("they would be read back otherwise")
    return text
