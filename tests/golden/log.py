"""Reads and writes the golden log."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from pathlib import Path
from typing import Any

from tests.logs import LogRecord, RandomLog, small_spec

LOG = Path(__file__).parent / "log.jsonl"
EXPECTED = Path(__file__).parent / "expected.json"
SPECS = {
    "plain": small_spec(horizon=100),
    "silent": small_spec(horizon=100, silence="failure", silence_s=900),
    "rewarded": small_spec(horizon=100, silence="failure", silence_s=900, reward="seed", reward_without=("cost",)),
}
"""Folds by name; caps, horizon, spans and deadline are so small that the log reaches all of them. The arithmetic of the seed's reward is the fold's too."""
QUERIES = ("", "import os", "`ls` does what?", "solve x = 2", "calculated", "x" * 50, "x" * 501, "first class flight", "claſs of the sun", "hello")


def make_log() -> list[LogRecord]:
    """Return a log of all kinds of records, with a stretch of many decisions, and one trace for each class that the seed's classifier tells."""
    made = RandomLog(random.Random(2026), step_s=300)
    made.write(700)
    log = made.write(200, decisions=60)
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
