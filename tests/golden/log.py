"""Reads and writes the golden log."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.logs import LogRecord, random_log, small_spec

LOG = Path(__file__).parent / "log.jsonl"
EXPECTED = Path(__file__).parent / "expected.json"
SPEC = small_spec(horizon=100)
"""Caps, horizon and spans so small that the log reaches all of them."""
REWARDED = small_spec(horizon=100, reward="seed", reward_without=("cost",))
"""The same with the seed's reward, whose arithmetic is the fold's too."""
QUERIES = ("", "import os", "`ls` does what?", "solve x = 2", "calculated", "x" * 50, "x" * 501, "first class flight", "claſs of the sun", "hello")


def make_log() -> list[LogRecord]:
    """Return a log of all kinds of records, and one trace for each class that the seed's classifier tells."""
    log = random_log(2026, 700, step_s=300)
    for number, query in enumerate(QUERIES):
        last, body = log[-1], {"trace_id": f"query-{number}", "query": query, "model": "small"}
        log.append(LogRecord(last.offset + 1, last.timestamp, body["trace_id"].encode(), json.dumps(body).encode()))
    return log


def write_log(log: list[LogRecord]) -> str:
    """Return a log as lines of JSON; keys and values in base64."""
    return "".join(json.dumps([record.offset, record.timestamp, encoded(record.key), encoded(record.value)]) + "\n" for record in log)


def read_log(text: str) -> list[LogRecord]:
    """Read what `write_log` wrote."""
    rows = [json.loads(line) for line in text.splitlines()]
    return [LogRecord(offset, timestamp, decoded(key), decoded(value)) for offset, timestamp, key, value in rows]


def encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def sha256(canonical: dict[str, Any]) -> str:
    """Return the hash of a state in canonical form."""
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()
