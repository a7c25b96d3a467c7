"""A trace as the library's users know it: mutable, with its steps. The record on the wire is another type (`stream.records.Trace`)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class StepType(StrEnum):
    """What a step of an agent was; equal to its text."""

    ROUTE = "route"
    RETRIEVE = "retrieve"
    GENERATE = "generate"
    TOOL_CALL = "tool_call"
    RESPOND = "respond"


@dataclass(slots=True)
class TraceStep:
    """One step.

    Attributes:
        step_type: what it was.
        timestamp: its start, epoch seconds.
        duration_seconds: how long it took.
        input: what went in; of a tool call `tool` and `arguments`.
        output: what came out; `tokens` is what totals count, `success` is a tool's own word.
        metadata: whatever else.
    """

    step_type: StepType
    timestamp: float
    duration_seconds: float = 0.0
    input: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


def _new_id() -> str:
    return uuid.uuid4().hex[:16]  # noqa: TID251 - an id, from which nothing is learned


@dataclass(slots=True)
class Trace:
    """What an agent did for one query.

    Attributes:
        trace_id: unique.
        query: what was asked.
        agent: who answered.
        model: that answered last.
        engine: that ran it.
        steps: in order.
        result: the answer.
        outcome: `success`, `failure` or None, unknown.
        feedback: quality in [0, 1], None where unrated.
        started_at: epoch seconds.
        ended_at: epoch seconds.
        total_tokens: of all steps.
        total_latency_seconds: of all steps.
        metadata: whatever else.
        messages: the conversation.
    """

    trace_id: str = field(default_factory=_new_id)
    query: str = ""
    agent: str = ""
    model: str = ""
    engine: str = ""
    steps: list[TraceStep] = field(default_factory=list)
    result: str = ""
    outcome: str | None = None
    feedback: float | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    total_tokens: int = 0
    total_latency_seconds: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def add_step(self, step: TraceStep) -> None:
        """Append a step, and count its time and tokens."""
        self.steps.append(step)
        self.total_latency_seconds += step.duration_seconds
        self.total_tokens += step.output.get("tokens", 0)
