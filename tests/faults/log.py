"""A seeded log as the world writes it: traces, duplicates, feedback early, late and revised, decisions, garbage, and records in the wrong place.

It does not publish, and it does not say what the fold makes of a record; it says what was meant by it.
"""

from __future__ import annotations

import base64
import heapq
import json
import random
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import count
from typing import Any, NamedTuple

from aiokafka.partitioner import murmur2

ARMS = tuple((model, agent) for model in ("gpt-4", "gpt-3.5", "text-bison-001") for agent in ("react", "multiturn", "plan|act"))
QUERIES = {
    "short": "What is the capital of Peru?",
    "general": "Tell me in a few plain words what makes a good holiday in the mountains.",
    "math": "Please solve x + 2 = 5 for me and show each of the steps that you take.",
    "code": "Fix this for me, would you: `echo $HOEM` prints nothing on my machine.",
    "long": "Describe the house. " * 30,
}
"""A query of every class of the seed's classifier."""
NAMED_CLASSES = tuple(f"team-{number:02}" for number in range(20))
"""Classes that the sender names."""
RATERS = (("alice", "human"), ("bob", "human"), ("gpt-4-judge", "judge"), ("unit-tests", "program"))
ODD = "odd-"
"""Begins the class of every record whose fate (a clamp, an overflow, a dead letter) only the fold knows."""
FAR_AHEAD_S = 10**9
"""Further ahead of now than any clock of a broker is wrong."""


class Kind(Enum):
    """What was meant by a record."""

    TRACE = "trace"
    DUPLICATE = "duplicate"
    FEEDBACK = "feedback"
    DECISION = "decision"
    FORGET = "forget"
    GARBAGE = "garbage"
    MISPLACED = "misplaced"
    ODD = "odd"


class Sent(NamedTuple):
    """One record to publish.

    `partition` is None where the key decides. `cell` (query class, model, agent) is what a trace counts for. `producer` is 0 or 1: two
    publish side by side. `timestamp_ms` is None where the producer's clock stamps; brokers that stamp themselves ignore it.
    """

    kind: Kind
    trace_id: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    cell: tuple[str, str, str] | None = None
    producer: int = 0
    timestamp_ms: int | None = None


def partition_of(key: bytes, partitions: int) -> int:
    """Place a key as Java clients do."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def write_log(traces: int, *, seed: int, partitions: int, now_s: float) -> Iterator[Sent]:
    """Write the whole log, in the order in which it is published.

    Args:
        traces: distinct traces; what else is told of them comes on top, about seven records for ten traces.
        seed: the same seed writes the same log.
        partitions: of the topic.
        now_s: epoch seconds at which the log begins; raters' clocks stand about here.
    """
    writer = _Writer(traces, random.Random(seed), partitions, now_s)
    due: list[tuple[float, int, Sent]] = []
    order = count()
    for place in range(traces):
        for when, sent in writer.story(place):
            heapq.heappush(due, (min(when, traces), next(order), sent))
        while due and due[0][0] <= place:
            yield heapq.heappop(due)[2]
    while due:
        yield heapq.heappop(due)[2]


class _Writer:
    """Tells the story of one trace after another; a story is records, each with its place in the log."""

    def __init__(self, traces: int, rng: random.Random, partitions: int, now_s: float) -> None:
        self.traces, self.rng, self.partitions, self.now_s = traces, rng, partitions, now_s
        self.filler = base64.b64encode(rng.randbytes(6_000)).decode()
        self.future_stamps = 0

    def story(self, place: int) -> Iterator[tuple[float, Sent]]:
        rng = self.rng
        trace_id = f"{rng.getrandbits(64):016x}"
        cell = self._cell()
        traced_at = place + (rng.expovariate(1 / 400) if rng.random() < 0.08 else 0.0)
        yield traced_at, self._first(trace_id, cell, traced_at)
        yield from self._duplicates(trace_id, cell, traced_at)
        yield from self._feedback(trace_id, place)
        yield from self._asides(trace_id, cell, traced_at)
        yield from self._nonsense(trace_id, place)

    def _cell(self) -> tuple[str, str, str]:
        query_class = self.rng.choice(NAMED_CLASSES if self.rng.random() < 0.6 else tuple(QUERIES))
        return (query_class, *self.rng.choice(ARMS))

    def _soon_or_late(self, place: float) -> float:
        return place + self.rng.expovariate(1 / 30) if self.rng.random() < 0.6 else self.rng.uniform(place, self.traces)

    # -- traces

    def _first(self, trace_id: str, cell: tuple[str, str, str], place: float) -> Sent:
        value = encode(self._trace(trace_id, cell))
        if self.rng.random() < 0.01:
            return self._misplaced(trace_id, value, cell)
        return Sent(Kind.TRACE, trace_id, trace_id.encode(), value, cell=cell, timestamp_ms=self._stamp(place))

    def _stamp(self, place: float) -> int | None:
        if self.rng.random() < 0.001:
            return 1_000                             # 1970: time does not go back
        if self.rng.random() < 5 / max(self.traces, 100) and self.future_stamps < 5 and place > self.traces / 2:
            self.future_stamps += 1                  # 2100: a day forward at most; five days keep every bucket alive
            return 4_102_444_800_000
        return None

    def _trace(self, trace_id: str, cell: tuple[str, str, str]) -> dict[str, Any]:
        rng, (query_class, model, agent) = self.rng, cell
        fields: dict[str, Any] = {
            "trace_id": trace_id, "agent": agent, "model": model, "engine": "", "steps": self._steps(), "result": self._text(200),
            "outcome": rng.choice(("success", "failure", None)), "started_at": self.now_s, "ended_at": self.now_s + 1,
            "total_tokens": rng.choice((0, rng.randrange(5_000))), "total_latency_seconds": rng.choice((0.0, round(rng.uniform(0.01, 20), 3))),
            "cost_usd": rng.choice((0.0, round(rng.uniform(1e-6, 0.1), 7))), "metadata": {"origin": self._text(60)}, "not_known_to_eddy": [1, {"a": None}],
        }
        fields |= {"query": QUERIES[query_class]} if query_class in QUERIES else {"query": self._text(80), "query_class": query_class}
        fields |= {"schema": 1} if rng.random() < 0.5 else {}
        fields |= {"type": "trace"} if rng.random() < 0.5 else {}
        fields |= {"feedback": round(rng.random(), 4)} if rng.random() < 0.2 else {}
        fields |= {"decision": self._decision(trace_id, cell)} if rng.random() < 0.3 else {}
        return fields

    def _steps(self) -> list[dict[str, Any]]:
        return [
            {"step_type": "tool_call", "timestamp": self.now_s, "duration_seconds": 0.1, "input": {"tool": "bash", "arguments": {"command": self._text(60)}},
             "output": {"success": True, "result": self._text(120)}, "metadata": {}}
            for _ in range(self.rng.randrange(1, 4))
        ]

    def _text(self, length: int) -> str:
        start = self.rng.randrange(len(self.filler) - length)
        return self.filler[start : start + length]

    def _decision(self, trace_id: str, cell: tuple[str, str, str]) -> dict[str, Any]:
        query_class, model, agent = cell
        kind = self.rng.choice(("drawn", "drawn", "drawn", "sticky", "fallback", "pinned"))
        chosen = {"model": model} if self.rng.random() < 0.5 else {"model": model, "agent": agent}
        if self.rng.random() < 0.15:
            chosen["model"] = "another-model"        # the arm that served is credited; no propensity is lent
        decision: dict[str, Any] = {"type": "decision", "schema": 1, "trace_id": trace_id, "kind": kind, "query_class": query_class, "arm": chosen, "policy_version": "1.7"}
        return decision | ({"propensity": round(self.rng.uniform(0.01, 1.0), 4)} if kind == "drawn" else {})

    def _duplicates(self, trace_id: str, cell: tuple[str, str, str], traced_at: float) -> Iterator[tuple[float, Sent]]:
        while self.rng.random() < 0.1:               # the same id again, from the other producer half the time, with other tokens and costs
            value = encode(self._trace(trace_id, cell))
            yield self._soon_or_late(traced_at), Sent(Kind.DUPLICATE, trace_id, trace_id.encode(), value, cell=cell, producer=self.rng.randrange(2))

    # -- what is said of a trace

    def _feedback(self, trace_id: str, place: float) -> Iterator[tuple[float, Sent]]:
        rng = self.rng
        for rater, rater_kind in RATERS:
            if rng.random() > 0.1:
                continue
            words = [self._rating(trace_id, rater, rater_kind, place, revision) for revision in range(rng.choice((1, 1, 1, 2, 3)))]
            rng.shuffle(words)                       # revisions come in any order
            for word in words:
                copies = 2 if rng.random() < 0.1 else 1
                for _ in range(copies):
                    yield self._soon_or_late(place), self._said(Kind.FEEDBACK, trace_id, word)
        if rng.random() < 0.01:                      # its trace never comes
            stranger = f"never-{trace_id}"
            yield place, self._said(Kind.FEEDBACK, stranger, self._rating(stranger, *RATERS[0], place, 0))

    def _rating(self, trace_id: str, rater: str, rater_kind: str, place: float, revision: int) -> dict[str, Any]:
        given_at = self.now_s + place * 1e-4 + self.rng.choice((0, revision))     # 0: a tie, which the score decides
        return {"type": "feedback", "schema": 1, "trace_id": trace_id, "rater": rater, "rater_kind": rater_kind, "score": round(self.rng.random(), 3), "given_at": given_at}

    def _asides(self, trace_id: str, cell: tuple[str, str, str], traced_at: float) -> Iterator[tuple[float, Sent]]:
        if self.rng.random() < 0.05:                 # before its trace as often as after it
            yield max(traced_at + self.rng.uniform(-50, 50), 0), self._said(Kind.DECISION, trace_id, self._decision(trace_id, cell))
        if self.rng.random() < 0.005:
            yield self._soon_or_late(traced_at), self._said(Kind.FORGET, trace_id, {"type": "forget", "schema": 1, "trace_id": trace_id})

    def _said(self, kind: Kind, trace_id: str, record: dict[str, Any]) -> Sent:
        value = encode(record)
        if self.rng.random() < 0.01:
            return self._misplaced(trace_id, value, None)
        return Sent(kind, trace_id, trace_id.encode(), value, producer=self.rng.randrange(2))

    def _misplaced(self, trace_id: str, value: bytes, cell: tuple[str, str, str] | None) -> Sent:
        """Null key, another key, or the right key in the wrong partition."""
        home = partition_of(trace_id.encode(), self.partitions)
        wrong = (home + self.rng.randrange(1, self.partitions)) % self.partitions if self.partitions > 1 else home
        key = self.rng.choice((None, b"somebody else", trace_id.encode())) if wrong != home else b"somebody else"
        return Sent(Kind.MISPLACED, trace_id, key, value, partition=wrong, cell=cell)

    # -- what should not be there

    def _nonsense(self, trace_id: str, place: float) -> Iterator[tuple[float, Sent]]:
        if self.rng.random() < 0.02:
            value = self.rng.choice(GARBAGE)(f"bad-{trace_id}")
            yield place, Sent(Kind.GARBAGE, f"bad-{trace_id}", f"bad-{trace_id}".encode(), value, producer=self.rng.randrange(2))
        if self.rng.random() < 0.004:
            odd = self._trace(f"odd-{trace_id}", ("", "gpt-4", "react")) | {"query_class": ODD + str(self.rng.randrange(30))} | self.rng.choice(ODDITIES)
            yield place, Sent(Kind.ODD, f"odd-{trace_id}", f"odd-{trace_id}".encode(), encode(odd))


def encode(record: dict[str, Any]) -> bytes:
    """Write a record as a producer that knows nothing of Eddy would."""
    return json.dumps(record).encode()


def _with(**fields: Any) -> Callable[[str], bytes]:
    return lambda trace_id: encode({"trace_id": trace_id, "query": "q", "agent": "a", "model": "m"} | fields)


def _rated(**fields: Any) -> Callable[[str], bytes]:
    rating = {"type": "feedback", "schema": 1, "rater": "r", "rater_kind": "human", "score": 0.5, "given_at": 1.7e9}
    return lambda trace_id: encode({"trace_id": trace_id} | rating | fields)


GARBAGE: tuple[Callable[[str], bytes | None], ...] = (
    lambda trace_id: b"{not json " + trace_id.encode(),
    lambda trace_id: b'"' + trace_id.encode() + b'"',
    lambda trace_id: b"42",
    lambda trace_id: encode({"trace_id": trace_id, "query": "q"})[:-1],
    lambda trace_id: b"\xff\xfe\x00" + trace_id.encode(),
    lambda trace_id: b"",
    lambda trace_id: None,
    lambda trace_id: b'{"trace_id": "' + trace_id.encode() + b'", "model": "m", "cost_usd": NaN}',
    lambda trace_id: b'{"trace_id": "' + trace_id.encode() + b'", "model": "m", "cost_usd": 1e999}',
    lambda trace_id: encode({"query": "no id", "model": "m"}),
    _with(trace_id=""),
    _with(trace_id="x" * 10_000),
    _with(trace_id=5),
    _with(total_tokens="many"),
    _with(schema=99),
    _with(type="gossip"),
    _with(result="x" * 40_000),
    _rated(score=42),
    _rated(score=-0.1),
    _rated(score="good"),
    _rated(rater_kind="oracle"),
    _rated(given_at=1.7e9 + FAR_AHEAD_S),
    _rated(rater=None),
)
"""What every reader must refuse; the settings of a fault run put the size limit below the largest of them."""

ODDITIES: tuple[dict[str, Any], ...] = (
    {"started_at": 0.0, "ended_at": 4_102_444_800.0},
    {"agent": "../../etc/passwd\u0000"},
    {"model": "'; drop table traces; --"},
    {"cost_usd": -1.0},
    {"total_tokens": 2**70},
    {"total_latency_seconds": 1e300},
    {"model": "m" * 5_000},
    {"query_class": "c" * 5_000},
    {"outcome": "perhaps"},
    {"feedback": 7.0},
    {"steps": "none"},
)
"""What a reader may clamp or refuse, as it documents."""
