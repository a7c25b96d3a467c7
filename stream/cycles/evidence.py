"""What the new traces say, gathered in one pass."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream.archive.reader import ArchiveReader
from stream.cycles.plan import Plan


class _Step(msgspec.Struct):
    step_type: str = ""
    input: dict[str, Any] = {}
    output: dict[str, Any] = {}


class _Trace(msgspec.Struct):
    query: str = ""
    agent: str = ""
    result: str = ""
    session_id: str = ""
    outcome: str | None = None
    feedback: float | None = None
    decision: msgspec.Raw | None = None
    steps: list[_Step] = []


@dataclass(slots=True)
class Evidence:
    traces: int = 0
    answers: int = 0
    draws: int = 0
    tools: dict[str, dict[str, list[int]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(lambda: [0, 0])))
    turns: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def as_json(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)


def gather(reader: ArchiveReader, plan: Plan, *, agent: str, since: int, until: int) -> Evidence:
    decode, found = msgspec.json.Decoder(_Trace).decode, Evidence()
    for trace in reader.traces(agent=agent or None, after_seq=since, newest_first=False):
        if trace.entry.seq > until:
            break
        try:
            said = decode(trace.entry.value or b"")
        except msgspec.DecodeError:
            continue
        found.traces += 1
        found.draws += said.decision is not None
        scores = trace.score()
        found.answers += said.outcome == "success" and scores is not None and scores[1] >= plan.min_quality
        calls = [step for step in said.steps if step.step_type == "tool_call"]
        found.turns[said.agent].append(len(calls))
        for step in calls:
            if isinstance(step.output.get("success"), bool) and isinstance(step.input.get("tool"), str):
                counts = found.tools[said.agent][step.input["tool"]]
                counts[0] += 1
                counts[1] += step.output["success"]
    return found
