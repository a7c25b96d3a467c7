"""How a contestant is told what to read, and says how far it is."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import orjson

TOPIC = "eddy.traces"
WINDOW_S, STEP_S = 60, 10
SAY_EVERY_S = 0.1
LOOK_EVERY = 64
"""Records between two looks at the clock."""


def options() -> argparse.Namespace:
    """Read the command line: where the broker is, how many records the topic holds, a folder, and a name nobody had before."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", required=True)
    return parser.parse_args()


class Clock:
    """Counts records and says so, every tenth of a second and at the last one."""

    def __init__(self, total: int) -> None:
        self._total, self.records, self._due_s, self._said = total, 0, 0.0, 0

    def one(self) -> None:
        """Count one record."""
        self.records += 1
        if not self.records % LOOK_EVERY or self.records >= self._total:
            self.look()

    def is_trace(self, record: dict[str, Any]) -> bool:
        """Tell a trace from a rating, which nobody but Eddy keeps and which is done with now."""
        if record["type"] == "trace":
            return True
        self.one()
        return False

    def many(self, records: int) -> None:
        """Count some."""
        self.records += records
        self.look()

    def look(self) -> None:
        """Say how far it is, if it is time."""
        now_s = time.time()
        if now_s >= self._due_s or self.records >= self._total:
            self._due_s = now_s + SAY_EVERY_S
            print(f'{{"records": {self.records}, "at": {now_s}}}', flush=True)


def read(value: bytes) -> dict[str, Any]:
    """Decode a record."""
    decoded: dict[str, Any] = orjson.loads(value)
    return decoded


def added(totals: dict[str, list[float]] | None, record: dict[str, Any]) -> dict[str, list[float]]:
    """Add a record to the running totals of its class, by model: count, cost, tokens, latency."""
    totals = dict(totals) if totals else {}
    count, cost, tokens, latency = totals.get(record["model"], (0, 0.0, 0, 0.0))
    totals[record["model"]] = [count + 1, cost + record["cost_usd"], tokens + record["total_tokens"], latency + record["total_latency_seconds"]]
    return totals
