"""Random logs that hold everything a log may hold: duplicates, late, early, revised and future feedback, decisions, bad records, misplaced ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stream.fold.spec import FoldSpec
from stream.reading.partitioning import partition_of

START_MS = 1_700_000_000_000
MODELS = ("small", "large", "huge")
CLASSES = ("code", "math", "sql:easy", "sql:hard", "")


@dataclass(frozen=True)
class LogRecord:
    """A record as a broker hands it out."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def small_spec(**given: Any) -> FoldSpec:
    """A fold whose horizon, caps and spans are so small that a short log passes all of them."""
    fields: dict[str, Any] = {"partitions": 1, "horizon": 40, "max_classes": 3, "max_arms": 2, "keep_minutes": 3, "keep_hours": 2, "keep_days": 2}
    return FoldSpec(**(fields | {"classifier": "seed", "max_record_bytes": 10_000} | given))


class RandomLog:
    """Writes a log of one partition, record by record."""

    def __init__(self, rnd: random.Random, *, step_s: float = 60.0) -> None:
        self.rnd, self.step_s = rnd, step_s
        self.records: list[LogRecord] = []
        self.now_ms = START_MS
        self.offset = 0

    def write(self, count: int, *, decisions: int = 8) -> list[LogRecord]:
        kinds: list[tuple[Callable[[str], dict[str, Any] | bytes | None], int]] = [
            (self.trace, 55),
            (self.feedback, 30),
            (self.decision, decisions),
            (self.forget, 1),
            (self.bad, 5),
        ]
        for _ in range(count):
            (make,) = self.rnd.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
            self.append(make)
        return self.records

    def append(self, make: Callable[[str], dict[str, Any] | bytes | None]) -> None:
        trace_id = f"t{self.rnd.randrange(max(1, len(self.records) - 60), len(self.records) + 10)}"
        made = make(trace_id)
        value = json.dumps(made).encode() if isinstance(made, dict) else made
        key = None if self.rnd.random() < 0.01 else trace_id.encode()
        self.now_ms += int(self.rnd.expovariate(1 / (self.step_s * 1000)))
        self.offset += self.rnd.choices([0, 1, 7], [96, 3, 1])[0]
        stamp = self.now_ms - self.rnd.choices([0, 5_000, self.now_ms, -3 * 86_400_000], [94, 4, 1, 1])[0]
        self.records.append(LogRecord(self.offset, stamp, key, value))
        self.offset += 1

    def trace(self, trace_id: str) -> dict[str, Any]:
        rnd = self.rnd
        made: dict[str, Any] = {"trace_id": trace_id, "model": rnd.choice(MODELS), "agent": rnd.choice(["", "react"])}
        made |= {"query_class": rnd.choice(CLASSES), "query": rnd.choice(["hi", "solve x"])}
        optional = {
            "outcome": rnd.choice(["success", "failure", "error", "odd", None]),
            "feedback": rnd.choice([0, 0.25, 1.0]),
            "total_tokens": rnd.choice([0, 17, 250.0]),
            "total_latency_seconds": rnd.choice([0, 1.234567, 30]),
            "cost_usd": rnd.choice([0.0, 0.000_001_234_5, 2]),
            "decision": self.decision(trace_id),
            "type": "trace",
            "steps": rnd.choice([[{"any": "thing"}], [{"output": {"prompt_tokens": 30, "completion_tokens": 10}}]]),
        }
        return made | {name: value for name, value in optional.items() if rnd.random() < 0.4}

    def feedback(self, trace_id: str) -> dict[str, Any]:
        rnd = self.rnd
        given_at = self.now_ms / 1000 + rnd.choice([0, -1, -1, -3_600, 500, 700, -0.001])
        rater = f"r{rnd.randrange(3)}"
        made = {"type": "feedback", "trace_id": trace_id, "rater": rater, "rater_kind": rnd.choice(["human", "judge", "program"])}
        return made | {"score": rnd.choice([0, 0.3333333, 0.5, 1]), "given_at": round(given_at, rnd.choice([0, 3]))}

    def decision(self, trace_id: str) -> dict[str, Any]:
        rnd = self.rnd
        arm = {"model": rnd.choice(MODELS)} | ({"agent": "react"} if rnd.random() < 0.3 else {})
        kind = rnd.choice(["drawn", "drawn", "sticky"])
        query_class = CLASSES[sum(map(ord, trace_id)) % len(CLASSES)]
        return {"type": "decision", "trace_id": trace_id, "kind": kind, "query_class": query_class, "arm": arm, "propensity": 0.5 if kind == "drawn" else None}

    def forget(self, trace_id: str) -> dict[str, Any]:
        return {"type": "forget", "trace_id": trace_id}

    def bad(self, trace_id: str) -> dict[str, Any] | bytes | None:
        faulty: list[dict[str, Any]] = [{"schema": 9}, {"feedback": 42}, {"type": "odd"}, {"trace_id": ""}, {"total_tokens": -1}, {"agent": "../x"}]
        return self.rnd.choice([None, b"", b"{", b"7", b"\xff", {"trace_id": trace_id} | self.rnd.choice(faulty)])


def random_log(seed: int, count: int, *, step_s: float = 60.0, decisions: int = 8) -> list[LogRecord]:
    """Return a log of `count` records, the same for the same seed; the weight of decisions stands beside 55 of traces and 30 of feedback."""
    return RandomLog(random.Random(seed), step_s=step_s).write(count, decisions=decisions)


def trace_id_in(partition: int, partitions: int) -> str:
    """Return a trace id that belongs to a partition."""
    return next(f"t{i}" for i in range(10_000) if partition_of(f"t{i}".encode(), partitions) == partition)
