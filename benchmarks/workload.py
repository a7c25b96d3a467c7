"""Seeded workloads under permanent ids: an id means the same records for ever, so that figures of two versions can be compared.

It does not publish: `benchmarks.fill` does.
"""

from __future__ import annotations

import base64
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

FEEDBACK_SHARE = 0.2
"""Of the traces, rated later, once."""
FEEDBACK_LATE = 5_000
"""Records, on average, between a trace and its rating."""
OUTCOMES = ("success", "success", "failure", None)
QUERIES = (
    "What is the capital of Peru?",
    "Tell me in a few plain words what makes a good holiday in the mountains.",
    "Please solve x + 2 = 5 for me and show each of the steps that you take.",
    "Fix this for me, would you: `echo $HOEM` prints nothing on my machine.",
    "Describe the house. " * 30,
)
"""One of every class of the seed's classifier."""

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A workload.

    Attributes:
        id: permanent.
        classes: query classes, equally frequent.
        arms: models, equally frequent in every class.
        is_named: whether senders name the class; else the classifier reads it off the query.
        seed: of everything drawn.
    """

    id: str
    classes: int
    arms: int = 6
    is_named: bool = True
    seed: int = 1


SCENARIOS = {
    scenario.id: scenario
    for scenario in (
        Scenario(id="8x6", classes=8),
        Scenario(id="100x6", classes=100),
        Scenario(id="8x6-unnamed", classes=8, is_named=False),
        *(Scenario(id=f"{classes}x6", classes=classes) for classes in (10, 1_000)),
        *(Scenario(id=f"8x{arms}", classes=8, arms=arms) for arms in (2, 20, 100)),
    )
}
"""All of them; what is listed here once is never changed, only added to."""


def write(scenario: Scenario, traces: int, *, now_s: float) -> Iterator[tuple[bytes, bytes]]:
    """Write a log: key and value of each record, in the order in which it is published.

    Args:
        scenario: what it is like.
        traces: distinct ones; a fifth as many ratings come on top.
        now_s: epoch seconds at which raters and agents say it is.
    """
    writer = _Writer(scenario, now_s)
    waiting: list[tuple[float, bytes, bytes]] = []
    for place in range(traces):
        key = writer.next_key()
        yield key, writer.trace(key)
        if writer.rng.random() < FEEDBACK_SHARE:
            heapq.heappush(waiting, (place + writer.rng.expovariate(1 / FEEDBACK_LATE), key, writer.feedback(key)))
        while waiting and waiting[0][0] <= place:
            yield heapq.heappop(waiting)[1:]
    while waiting:
        yield heapq.heappop(waiting)[1:]


def count(scenario: Scenario, traces: int) -> int:
    """How many records `write` writes."""
    return sum(1 for _ in write(scenario, traces, now_s=0.0))


class _Writer:
    """Draws one record after another."""

    def __init__(self, scenario: Scenario, now_s: float) -> None:
        self.scenario, self.now_s, self.rng = scenario, now_s, random.Random(f"{scenario.id}/{scenario.seed}")
        self._filler = base64.b64encode(random.Random(0).randbytes(12_000)).decode()

    def next_key(self) -> bytes:
        return b"%016x" % self.rng.getrandbits(64)

    def trace(self, key: bytes) -> bytes:
        rng, scenario = self.rng, self.scenario
        arm = rng.randrange(scenario.arms)
        return encode(self._class() | {
            "type": "trace", "schema": 1, "trace_id": key.decode(), "agent": "react", "model": f"model-{arm}", "engine": "vllm",
            "steps": [self._step() for _ in range(3)], "result": self._text(160), "outcome": OUTCOMES[rng.randrange(4)],
            "started_at": self.now_s, "ended_at": self.now_s + 1.5, "total_tokens": rng.randrange(100, 4_000), "total_latency_seconds": rng.randrange(100, 9_000) / 1000,
            "metadata": {"origin": self._text(40)}, "cost_usd": rng.randrange(1, 90_000) / 1e6, "session_id": self._text(16),
        })  # fmt: skip

    def feedback(self, key: bytes) -> bytes:
        return encode({
            "type": "feedback", "schema": 1, "trace_id": key.decode(), "rater": f"rater-{self.rng.randrange(50)}", "rater_kind": "human",
            "score": self.rng.randrange(1_001) / 1000, "given_at": self.now_s,
        })  # fmt: skip

    def _class(self) -> dict[str, str]:
        number = self.rng.randrange(self.scenario.classes)
        return {"query_class": f"class-{number:04}", "query": self._text(100)} if self.scenario.is_named else {"query": QUERIES[number % len(QUERIES)]}

    def _step(self) -> dict[str, Any]:
        return {
            "step_type": "tool_call", "timestamp": self.now_s, "duration_seconds": 0.25, "input": {"tool": "bash", "arguments": {"command": self._text(48)}},
            "output": {"success": True, "result": self._text(50)}, "metadata": {},
        }  # fmt: skip

    def _text(self, length: int) -> str:
        start = self.rng.randrange(len(self._filler) - length)
        return self._filler[start : start + length]
