"""The agents' live configuration: one file an agent, versions counted from 1, each with what was live before it in `.history/<agent>.v<N>.toml`.

Whoever changes it, the library, a cycle or a command, does so here: under one lock, in one move, with the bytes on the disk before it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.errors import AgentConfigError, CycleError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._@+-]{0,99}")
"""Of an agent that has a file of its own: nothing in it leaves the folder."""
HISTORY = ".history"
"""Folder of what was live before: `<agent>.v<N>.toml`."""


def checked(agent: str) -> str:
    """Return an agent's name, where it can be a file's.

    Raises:
        AgentConfigError: it is empty, too long, or has a character that could lead out of the folder.
    """
    if not NAME.fullmatch(agent):
        rule = "an agent's name must be 1 to 100 letters, digits and any of ` ._@+-`, the first a letter, a digit or `_`"
        raise AgentConfigError(f"{agent!r} cannot have a configuration, but {rule}; rename the agent")
    return agent


@contextmanager
def locked(config_dir: Path) -> Iterator[None]:
    """Let nobody else change the live configuration meanwhile; whoever does is waited for. Not to be taken twice by one thread."""
    folder = os.open(config_dir, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def read(config_dir: Path, agent: str) -> str | None:
    """Return an agent's live configuration; None where it has none.

    Raises:
        AgentConfigError: it is not UTF-8, as TOML is.
    """
    path = config_dir / f"{agent}.toml"
    return _text(path) if path.exists() else None


def digest(text: str | None) -> str:
    """Tell configurations apart; that there is none is one of them."""
    return "" if text is None else hashlib.sha256(text.encode()).hexdigest()


def digest_of_all(config_dir: Path) -> str:
    """Tell whole live configurations apart, by names and bytes."""
    hashed = hashlib.sha256()
    for path in files(config_dir):
        hashed.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()


def files(config_dir: Path) -> list[Path]:
    """List the files of the live configuration; history and what is staged stand in folders beside them."""
    return sorted(path for path in config_dir.glob("*.toml") if path.is_file())


def copy_with(config_dir: Path, folder: Path, changed: dict[str, str]) -> Path:
    """Make a folder that is the live configuration but for some agents: what an evaluator is handed for a candidate."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in files(config_dir):
        shutil.copyfile(path, folder / path.name)
    for agent, text in changed.items():
        (folder / f"{agent}.toml").write_bytes(text.encode())
    return folder


def version(config_dir: Path, agent: str) -> int:
    """Return the version, counted from 1, that is live; 0 where the agent has no configuration."""
    return 0 if read(config_dir, agent) is None else next_version(config_dir, agent) - 1


def text_of(config_dir: Path, agent: str, number: int) -> str | None:
    """Return a version of an agent's configuration; None where it is not there."""
    if number == version(config_dir, agent):
        return read(config_dir, agent)
    path = config_dir / HISTORY / f"{agent}.v{number}.toml"
    return _text(path) if path.exists() else None


def provenance(config_dir: Path, agent: str, number: int) -> dict[str, Any]:
    """Return where a version comes from; nothing where a person wrote it."""
    path = config_dir / HISTORY / f"{agent}.v{number}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def next_version(config_dir: Path, agent: str) -> int:
    """Return the version, counted from 1, that the next change of an agent's configuration makes."""
    return max(kept(config_dir, agent), default=0) + (1 if read(config_dir, agent) is None else 2)


def kept(config_dir: Path, agent: str) -> dict[int, Path]:
    """Return the files of the versions that were live before, in the order of their numbers."""
    numbered = ((re.fullmatch(rf"{re.escape(agent)}\.v([0-9]+)\.toml", path.name), path) for path in (config_dir / HISTORY).glob("*.toml"))
    return dict(sorted((int(found[1]), path) for found, path in numbered if found))


def change(config_dir: Path, agent: str, edit: Callable[[str | None], str], *, provenance: Mapping[str, Any] | None = None) -> int:
    """Replace a configuration by what an edit makes of it, with nobody in between; nothing where that is the same.

    Args:
        config_dir: the live configuration's folder.
        agent: whose it is.
        edit: is given what is live, None where there is none, and returns what is to be.
        provenance: kept beside the new version; nothing: it comes from a person's hand.

    Returns:
        The version that is live then.
    """
    with locked(config_dir):
        now = read(config_dir, checked(agent))
        text, number = edit(now), next_version(config_dir, agent)
        if text == now:
            return number - 1
        _replace(config_dir, agent, text, version=number, now=now, provenance=provenance or {})
        return number


def replace(config_dir: Path, agent: str, text: str, *, version: int, before: str, provenance: dict[str, Any]) -> None:
    """Make a configuration live, once, however often it is asked for.

    1. Where it is live already, a process that was killed has done it.
    2. Keep what is live in the history, under its version, which is one less; a copy that is there already is the same one.
    3. Write beside the new one where it comes from.
    4. Replace the live file in one move. What is written is on the disk before it, and the move after it.

    Raises:
        CycleError: what is live is neither it nor what it was staged against.
    """
    config_dir.mkdir(parents=True, exist_ok=True)
    with locked(config_dir):
        now = read(config_dir, agent)
        if now == text:  # 1
            return
        if digest(now) != before:
            raise CycleError(f"the live configuration of {agent} is not the one that its change was staged against, so that it would be lost; the next cycle starts from it")
        _replace(config_dir, agent, text, version=version, now=now, provenance=provenance)


def _replace(config_dir: Path, agent: str, text: str, *, version: int, now: str | None, provenance: Mapping[str, Any]) -> None:
    history = config_dir / HISTORY
    history.mkdir(parents=True, exist_ok=True)
    if now is not None:  # 2
        write(history / f"{agent}.v{version - 1}.toml", now)
        shutil.copystat(config_dir / f"{agent}.toml", history / f"{agent}.v{version - 1}.toml")
    if provenance:  # 3
        write(history / f"{agent}.v{version}.json", json.dumps(provenance, indent=2))
    write(config_dir / f"{agent}.toml", text)  # 4


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as exc:
        raise AgentConfigError(f"{path} is not UTF-8 ({exc}), but TOML is; write it anew") from exc


def write(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all, also after the machine has lost its power."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
