"""Pins: a person's word that learning leaves an agent's configuration as it is. They bind cycles, not persons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stream.learning.evolving import live


def pin(config_dir: Path, agent: str, *, reason: str, at: float) -> None:
    """Let no cycle change an agent's configuration.

    Args:
        config_dir: the live configuration's folder.
        agent: whose it is.
        reason: why; shown wherever a cycle would have changed it.
        at: epoch seconds.
    """
    path = _path(config_dir, live.checked(agent))
    path.parent.mkdir(parents=True, exist_ok=True)
    live.write(path, json.dumps({"reason": reason, "at": at}))


def unpin(config_dir: Path, agent: str) -> bool:
    """Lift a pin; returns whether there was one."""
    path = _path(config_dir, live.checked(agent))
    was_pinned = path.exists()
    path.unlink(missing_ok=True)
    return was_pinned


def pinned(config_dir: Path, agent: str) -> dict[str, Any] | None:
    """Return `reason` and `at` of an agent's pin; None where it has none."""
    path = _path(config_dir, agent)
    return dict(json.loads(path.read_text())) if path.exists() else None


def why_pinned(config_dir: Path, agent: str) -> str:
    """Say that a pin keeps a change away; empty where there is none."""
    found = pinned(config_dir, agent)
    if found is None:
        return ""
    return f"the configuration of {agent} is pinned{': ' if found['reason'] else ''}{found['reason']}; `eddy configs unpin` lets cycles change it again"


def _path(config_dir: Path, agent: str) -> Path:
    return config_dir / live.HISTORY / f"{agent}.pin.json"
