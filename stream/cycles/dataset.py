"""What an adapter is trained on: the best answer to each query of the training split, as chats, one JSON object a line, each with the id of its trace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file of samples.

    Attributes:
        path: of the file.
        sha256: of its bytes.
        samples: in it.
    """

    path: str
    sha256: str
    samples: int

    def as_json(self) -> dict[str, Any]:
        """For a training job."""
        return asdict(self) | {"format": "chat"}


def write_dataset(path: Path, rows: Iterable[dict[str, Any]]) -> Dataset:
    """Write rows to a file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hashed, samples = hashlib.sha256(), 0
    with path.open("wb") as file:
        for row in rows:
            line = msgspec.json.encode(row) + b"\n"
            samples += 1
            hashed.update(line)
            file.write(line)
    return Dataset(str(path), hashed.hexdigest(), samples)
