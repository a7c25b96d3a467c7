"""Checkpoints of a run: written whole or not at all, in safetensors and JSON, never pickled.

One folder a checkpoint, `step-00000120`, made under another name and renamed once every byte of it is on the disk. What is not complete has
another name and is never read; the last good one is removed only after the next is there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from stream.errors import TrainingCheckpointError

TENSORS, STATE = "tensors.safetensors", "state.json"
_NAME = re.compile(r"step-(\d{8})")


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Make a folder that is there whole or not at all.

    1. Yield a folder of another name beside it, to write into.
    2. Flush every file and the folder to the disk.
    3. Rename it, and flush the name.

    Raises:
        TrainingCheckpointError: it cannot be written; nothing of it is left, and what was there before is untouched.
    """
    making = target.with_name(f".{target.name}.making-{os.getpid()}")
    try:
        making.mkdir(parents=True)
        yield making
        for path in (*making.iterdir(), making):
            _flush(path)
        making.rename(target)
        _flush(target.parent)
    except OSError as exc:
        raise TrainingCheckpointError(f"{target} cannot be written ({exc.strerror or exc}), but a run keeps what it has learned there; {_remedy(target, exc)}") from exc
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _remedy(target: Path, exc: OSError) -> str:
    kept = newest(target.parent) if _NAME.fullmatch(target.name) else None
    says = f"the last good one, {kept.name}, is kept, and the same run goes on from it" if kept else "nothing is lost but what was not written yet"
    return f"{'make room' if exc.errno == 28 else 'make the folder writable'} and run it again: {says}"


def save(folder: Path, step: int, tensors: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
    """Write a checkpoint, then remove older ones.

    Args:
        folder: of the run.
        step: steps done.
        tensors: by name.
        state: JSON.

    Raises:
        TrainingCheckpointError: it cannot be written.
    """
    from safetensors.torch import save as to_bytes

    target = folder / f"step-{step:08d}"
    if not target.exists():
        with appearing(target) as making:
            (making / TENSORS).write_bytes(to_bytes({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}))
            (making / STATE).write_bytes(orjson.dumps(dict(state), option=orjson.OPT_INDENT_2))
    for other in _steps(folder):
        if other.name < target.name:
            shutil.rmtree(other, ignore_errors=True)
    return target


def newest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, if there is one."""
    return max(_steps(folder), key=lambda path: path.name, default=None)


def load(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a checkpoint's tensors and state.

    Raises:
        TrainingCheckpointError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        return from_bytes((checkpoint / TENSORS).read_bytes()), orjson.loads((checkpoint / STATE).read_bytes())
    except (OSError, ValueError, SafetensorError) as exc:
        raise TrainingCheckpointError(f"{checkpoint} cannot be read ({exc}), but the run goes on from it; remove the folder to start from the beginning") from exc


def _steps(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
