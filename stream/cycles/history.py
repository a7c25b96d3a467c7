"""Cycles as `eddy.cycles` tells of them, for whoever shows them: each step once, however often it was announced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stream.cycles.inbox import read_cycle_record
from stream.records import CycleFinished, CycleOrder, CycleRequested, CycleStep

MOST_CYCLES = 500
"""Cycles remembered, the newest; more than a year's at one a day."""


@dataclass(slots=True)
class Told:
    """What was told of one cycle.

    Attributes:
        cycle_id: its id.
        trigger: why it was asked for.
        agent: the one that it is about; empty: all.
        requested_at: epoch seconds; 0 where its request is no longer in the log.
        evidence: what crossed a threshold.
        steps: what was done, in order: `step`, `number`, `at`, `detail`.
        status: how it ended; empty: it has not.
        ended_at: epoch seconds; 0: it has not.
        detail: what was told at its end.
    """

    cycle_id: str
    trigger: str = ""
    agent: str = ""
    requested_at: float = 0.0
    evidence: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""
    ended_at: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """How it ended, or what was done last."""
        return self.status or (self.steps[-1]["step"] if self.steps else "requested")

    @property
    def candidates(self) -> dict[str, dict[str, Any]]:
        """Its candidates by name, each with the newest that was told of it."""
        found: dict[str, dict[str, Any]] = {}
        for step in self.steps:
            told = step["detail"].get("candidates")
            for each in told if isinstance(told, list) else ():
                if isinstance(each, dict) and isinstance(each.get("name"), str):
                    found.setdefault(each["name"], {}).update(each)
        return found

    def report(self) -> dict[str, Any]:
        """For machines."""
        names = ("cycle_id", "trigger", "agent", "requested_at", "evidence", "state", "status", "ended_at", "detail", "steps")
        return {name: getattr(self, name) for name in names} | {"candidates": list(self.candidates.values())}


class History:
    """The cycles, in the order in which they were first told of."""

    def __init__(self) -> None:
        self._cycles: dict[str, Told] = {}

    def take(self, value: bytes | None) -> Told | None:
        """Take a record of `eddy.cycles`; returns the cycle of which something new is told."""
        record = read_cycle_record(value)
        if record is None or isinstance(record, CycleOrder):
            return None
        told = self._cycles.setdefault(record.cycle_id, Told(record.cycle_id))
        if len(self._cycles) > MOST_CYCLES:
            del self._cycles[next(iter(self._cycles))]
        return told if _is_new(told, record) else None

    def __len__(self) -> int:
        return len(self._cycles)

    def cycle(self, cycle_id: str) -> Told | None:
        """Find a cycle by its id, or by how that begins where only one does."""
        if cycle_id in self._cycles:
            return self._cycles[cycle_id]
        begun = [told for name, told in self._cycles.items() if name.startswith(cycle_id)] if cycle_id else []
        return begun[0] if len(begun) == 1 else None

    def newest(self, most: int) -> list[Told]:
        """Return the newest cycles, the newest first."""
        return list(reversed(self._cycles.values()))[:most]


def _is_new(told: Told, record: CycleRequested | CycleStep | CycleFinished) -> bool:
    if isinstance(record, CycleRequested):
        told.trigger, told.agent, told.requested_at, told.evidence = record.trigger, record.agent, record.requested_at, record.evidence
        return not told.steps
    if isinstance(record, CycleFinished):
        is_first = not told.status
        told.status, told.ended_at, told.detail = told.status or record.status, told.ended_at or record.at, told.detail or record.detail
        return is_first
    step = {"step": record.step, "number": record.number, "at": record.at, "detail": record.detail}
    if any((known["step"], known["at"]) == (record.step, record.at) for known in told.steps):
        return False
    told.steps.append(step)
    return True
