"""The agents' live configuration, as cycles read and replace it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from stream.errors import CycleError


def read(config_dir: Path, agent: str) -> str | None:
    """Return an agent's live configuration; None where it has none."""
    path = config_dir / f"{agent}.toml"
    return path.read_text(encoding="utf-8") if path.exists() else None


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
        (folder / f"{agent}.toml").write_text(text, encoding="utf-8")
    return folder


def replace(config_dir: Path, agent: str, text: str, *, before: str, provenance: dict[str, object]) -> int:
    path, history = config_dir / f"{agent}.toml", config_dir / ".history"
    history.mkdir(parents=True, exist_ok=True)
    now = read(config_dir, agent)
    versions = sorted(int(old.name.split(".v")[1].split(".")[0]) for old in history.glob(f"{agent}.v*.toml"))
    if now == text:
        return (versions or [0])[-1] + 1
    if digest(now) != before:
        raise CycleError(f"the live configuration of {agent} has changed")
    if now is not None:
        number = (versions or [0])[-1] + 1
        (history / f"{agent}.v{number}.toml").write_text(now)
    draft = path.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return len(list(history.glob(f"{agent}.v*.toml"))) + 1
