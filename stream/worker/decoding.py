"""Reads the records of Eddy's own topics; what cannot be read is counted and left out, whoever wrote it."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from stream import metrics
from stream.worker.fatal import logger

T = TypeVar("T")


def decoded(record: Any, kind: type[T], *, topic: str) -> T | None:
    """Decode the value of a topic's record, or None where it cannot be read."""
    try:
        return msgspec.json.decode(record.value, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        metrics.UNREADABLE.labels(topic).inc()
        logger.warning("the record at %s/%d is left out: it is no %s (%s)", topic, record.offset, kind.__name__, exc)
        return None


def text_key(record: Any) -> str:
    """The key as text; empty where there is none."""
    return (record.key or b"").decode("utf-8", "replace")
