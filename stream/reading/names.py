"""Reading of records what they are listed by, and whether the fold takes them: `read_record` without what the fold adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from stream.errors import MalformedRecordError
from stream.reading.arm import read_arm, read_class
from stream.reading.chunk import NOT_READABLE, Cell, decode_plain
from stream.reading.depth import SAFE_BYTES, may_be_deep
from stream.reading.record import (
    DecisionReading,
    FeedbackReading,
    ForgetReading,
    RawTrace,
    TraceReading,
    arm_drawn,
    class_of,
    decode_feedback,
    read_feedback,
    read_record,
)
from stream.reading.tenant import class_apart

KNOWN_MAX = 4096
"""Cells whose names are known to be good: some times the cells of a busy deployment, and a megabyte."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """What a trace is listed by."""

    query_class: str
    agent: str


Named: TypeAlias = Listed | FeedbackReading | DecisionReading | ForgetReading


class NameReader:
    """Reads what records are listed by; traces of one cell share one `Listed`.

    Args:
        max_bytes: size above which a record is refused.
        classify: gives the class of a query, for traces that name none.
        apart: whether tenants are kept apart.
    """

    def __init__(self, *, max_bytes: int, classify: Callable[[str], str], apart: bool = False) -> None:
        self._max_bytes, self._classify, self._apart = max_bytes, classify, apart
        self._known: dict[Cell, Listed] = {}

    def read_all(self, records: Iterable[Any]) -> tuple[list[bytes | None], list[Named | None]]:
        """Read records of the log, with `key` and `value` as the broker hands them out.

        Returns:
            What each is looked up by: its trace id, the key of a malformed one; and what it is listed by, None where `read_record` refuses it.
        """
        names: list[bytes | None] = []
        readings: list[Named | None] = []
        for record in records:
            key = record.key
            try:
                trace_id, reading = self.read(record.value)
            except MalformedRecordError:
                names.append(key)
                readings.append(None)
            else:
                names.append(key if (name := trace_id.encode()) == key else name)
                readings.append(reading)
        return names, readings

    def read(self, value: bytes | None) -> tuple[str, Named]:
        """Read the trace id of a record, and what it is listed by.

        Raises:
            MalformedRecordError: where `read_record` raises it.
        """
        try:
            trace = decode_plain(value)  # type: ignore[arg-type]  # of a tombstone it raises
            size, kind = len(value), trace.type  # type: ignore[arg-type]
            if size > self._max_bytes or (size > SAFE_BYTES and may_be_deep(value)):  # type: ignore[arg-type]
                return self._read_slowly(value)
            if kind is None or kind == "trace":
                return trace.trace_id, self._listed(trace) if not self._apart else self._listed_apart(trace, value)  # type: ignore[arg-type]
            if kind == "feedback":
                return trace.trace_id, read_feedback(decode_feedback(value))  # type: ignore[arg-type]
        except (*NOT_READABLE, MalformedRecordError):
            pass
        return self._read_slowly(value)

    def _read_slowly(self, value: bytes | None) -> tuple[str, Named]:
        reading = read_record(value, max_bytes=self._max_bytes, classify=self._classify, apart=self._apart)
        return reading.trace_id, Listed(reading.query_class, reading.arm.agent) if type(reading) is TraceReading else reading  # type: ignore[return-value]

    def _listed(self, trace: RawTrace) -> Listed:
        if (decision := trace.decision) is not None:
            arm_drawn(decision)
        cell = (trace.query_class or class_of(trace, self._classify), trace.model, trace.agent, trace.config_version, trace.adapter)
        return self._known.get(cell) or self._know(cell)

    def _listed_apart(self, trace: RawTrace, value: bytes) -> Listed:
        listed = self._listed(trace)
        return Listed(class_apart(value, listed.query_class), listed.agent)

    def _know(self, cell: Cell) -> Listed:
        query_class, model, agent, config_version, adapter = cell
        read_arm(model, agent, config_version, adapter)
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[cell] = listed = Listed(read_class(query_class), agent)
        return listed
