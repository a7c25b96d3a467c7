"""What a fold sends elsewhere: dead letters for what cannot be folded, forwards for what stands in the wrong place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stream.fold.fold import Misplaced, Refused
from stream.topics import DEAD_LETTERS, TRACES

KEY_BYTES = 1_024
"""As much of a dead letter's key as is kept; a trace id is shorter."""
ROOM_BYTES = 4_096
"""Left beside a dead letter's value for key (1 kB), detail (500 characters) and the other headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A record to be sent."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def dead_letter(record: Any, refused: Refused, *, partition: int, epoch: int, max_record_bytes: int) -> Outgoing:
    """Write the dead letter of a record: its bytes untouched, where it stood and what was wrong in the headers.

    A value that would not fit with them is cut to half of `max_record_bytes` and marked with its size, in `eddy-cut`. What has
    neither key nor value gets an empty key: no producer sends a record without both.
    """
    value, cut = record.value, []
    if value is not None and len(value) + ROOM_BYTES > max_record_bytes:
        value, cut = value[: max_record_bytes // 2], [("eddy-cut", str(len(value)))]
    named = [
        ("eddy-topic", TRACES.name),
        ("eddy-partition", str(partition)),
        ("eddy-offset", str(refused.offset)),
        ("eddy-epoch", str(epoch)),
        ("eddy-timestamp", str(record.timestamp)),
        ("eddy-reason", refused.reason),
        ("eddy-detail", refused.detail),
        *cut,
    ]
    key = record.key[:KEY_BYTES] if record.key is not None else b"" if value is None else None
    headers = tuple((name, text.encode("utf-8", "replace")) for name, text in named)
    return Outgoing(topic=DEAD_LETTERS.name, partition=partition, key=key, value=value, headers=headers)


def forward(record: Any, misplaced: Misplaced, *, partition: int) -> Outgoing:
    """Write the copy of a record that goes where its trace id belongs."""
    origin = ("eddy-forwarded", f"{partition}/{misplaced.offset}".encode())
    return Outgoing(topic=TRACES.name, partition=misplaced.partition, key=misplaced.key, value=record.value, headers=(origin,))
