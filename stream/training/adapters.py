"""Trained adapters as folders: the weights, and beside them where they come from and what they are worth.

A name is never used twice, so that no server and no cache can hold an older adapter under it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from stream.errors import TrainingCheckpointError, TrainingError
from stream.training.checkpoints import appearing

CARD, WEIGHTS = "adapter.json", "adapter_model.safetensors"
LIBRARIES = ("eddy-loop", "torch", "transformers", "peft", "safetensors", "tokenizers")
_VERSION = re.compile(r"-v(\d+)-[0-9a-f]{8}$")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,126}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on the disk.

    Attributes:
        name: unique and versioned, as `qwen3-0.6b-v3-1f0c9a2e`.
        path: its folder.
        card: what `adapter.json` says.
    """

    name: str
    path: Path
    card: dict[str, Any]


def stem_of(model_name: str) -> str:
    """Make a model's name into the beginning of an adapter's.

    Example:
        >>> stem_of("Qwen/Qwen3-0.6B")
        'qwen3-0.6b'
    """
    last = [part for part in re.split(r"[/\\]", model_name) if part][-1:] or ["model"]
    return re.sub(r"[^a-z0-9.]+", "-", last[0].lower()).strip("-.")[:64] or "model"


def next_name(folder: Path, stem: str, digest: str) -> str:
    """Return the name of the next version.

    Args:
        folder: that adapters are kept in.
        stem: of the base model, or of what the adapter is for.
        digest: of the weights, in hex; its first 8 digits tell apart what two machines call the same version.
    """
    names = [path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith(f"{stem}-v")] if folder.is_dir() else []
    versions = [int(found[1]) for name in names if (found := _VERSION.search(name))]
    return f"{stem}-v{max(versions, default=0) + 1}-{digest[:8]}"


def write(folder: Path, model: Any, tokenizer: Any, card: Mapping[str, Any], *, stem: str, name: str | None = None) -> Adapter:
    """Write an adapter: whole, or not at all.

    Args:
        folder: that adapters are kept in.
        model: with the adapter in it.
        tokenizer: saved beside it, with the chat template that it was trained with.
        card: for `adapter.json`; the name, the weights' SHA-256 and the libraries are added.
        stem: of its name.
        name: the whole of it instead, where the caller numbers adapters.

    Raises:
        TrainingError: the name is taken or cannot be one.
        TrainingCheckpointError: it cannot be written.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save as to_bytes

    tensors = {key: value.detach().contiguous().cpu() for key, value in get_peft_model_state_dict(model, save_embedding_layers=False).items()}
    weights = to_bytes(tensors, metadata={"format": "pt"})
    digest = hashlib.sha256(weights).hexdigest()
    name = name or next_name(folder, stem, digest)
    target = folder / name
    if not _NAME.fullmatch(name) or target.exists():
        raise TrainingError(f"an adapter was to be called {name!r}, but a name is of a-z, 0-9, '.', '_' and '-' and never used twice; leave it out to have one made")
    whole = {"name": name, **card, "weights_sha256": digest, "weights_bytes": len(weights), "libraries": libraries()}
    with appearing(target) as making:
        (making / WEIGHTS).write_bytes(weights)
        (making / CARD).write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        config = model.peft_config["default"]
        _written_by_others(lambda: _save_config(config, making))
        _written_by_others(lambda: tokenizer.save_pretrained(making))
    return Adapter(name, target, whole)


def _save_config(config: Any, making: Path) -> None:
    was = config.inference_mode
    config.inference_mode = True
    try:
        config.save_pretrained(str(making))
    finally:
        config.inference_mode = was


def _written_by_others(write_it: Callable[[], object]) -> None:
    """The tokenizers' library says of a full disk what is no OSError."""
    try:
        write_it()
    except OSError:
        raise
    except Exception as exc:
        raise OSError(28 if "os error 28" in str(exc) else 5, str(exc)) from exc


def read(path: Path) -> Adapter:
    """Read an adapter's card.

    Raises:
        TrainingCheckpointError: there is none, or its weights are not what the card says.
    """
    try:
        card = orjson.loads((path / CARD).read_bytes())
        digest = hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest()
    except (OSError, ValueError) as exc:
        raise TrainingCheckpointError(f"{path} cannot be read as an adapter ({exc}), but it has {CARD} and {WEIGHTS}; train it again or fetch it whole") from exc
    if not isinstance(card, dict) or card.get("weights_sha256") != digest:
        raise TrainingCheckpointError(f"the weights in {path} have SHA-256 {digest}, but its card says another; fetch it whole")
    return Adapter(str(card.get("name", path.name)), path, card)


def libraries() -> dict[str, str]:
    """Return the versions that training ran with."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
