"""What an adapter is trained on: good answers of the training split, as chats, one JSON object a line, each with the id of its trace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from stream.archive.reader import ArchivedTrace, ArchiveReader
from stream.learning.splits import normalised, split_of


class _Answered(msgspec.Struct):
    trace_id: str = ""
    query: str = ""
    result: str = ""
    session_id: str = ""
    outcome: str | None = None
    messages: list[dict[str, Any]] = msgspec.field(default_factory=list)


_decode = msgspec.json.Decoder(_Answered).decode


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


def write_dataset(reader: ArchiveReader, path: Path, *, agent: str, since: int, until: int, min_quality: float) -> Dataset:
    """Write the samples that what is new gives; the same answer to the same query once.

    Args:
        reader: of the archive.
        path: of the file; its folder is made.
        agent: only of this one; empty: of all.
        since: number of the record after which it is new.
        until: number of the last record that counts.
        min_quality: score, in [0, 1], from which an answer is learned from.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hashed, samples, seen = hashlib.sha256(), 0, set[bytes]()
    with path.open("wb") as file:
        for trace in reader.traces(agent=agent or None, after_seq=since, newest_first=False):
            if trace.entry.seq > until:
                break
            for name, line in _sample(trace, min_quality):
                if name not in seen:
                    seen.add(name)
                    samples += 1
                    hashed.update(line)
                    file.write(line)
    return Dataset(str(path), hashed.hexdigest(), samples)


def _sample(trace: ArchivedTrace, min_quality: float) -> Iterator[tuple[bytes, bytes]]:
    """Yield a trace's sample with a name that equal ones share; nothing where it is not one to learn from."""
    try:
        said = _decode(trace.entry.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    score = trace.score()
    if said.outcome != "success" or score is None or score[1] < min_quality or not said.query or not said.result or split_of(said.query, said.session_id) != "train":
        return
    messages = said.messages or [{"role": "user", "content": said.query}, {"role": "assistant", "content": said.result}]
    name = hashlib.blake2b(f"{normalised(said.query)}\0{said.result}".encode(errors="surrogatepass"), digest_size=16).digest()
    yield name, msgspec.json.encode({"messages": messages, "trace_id": said.trace_id, "score": score[1]}) + b"\n"
