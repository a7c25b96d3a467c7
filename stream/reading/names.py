"""Reading of a record what it is listed by, and whether the fold takes it: `read_record` without what the fold adds up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from stream.reading.arm import read_arm, read_class
from stream.reading.chunk import NOT_READABLE, decode_plain
from stream.reading.depth import SAFE_BYTES, may_be_deep
from stream.reading.record import DecisionReading, FeedbackReading, ForgetReading, TraceReading, arm_drawn, class_of, read_record


class TraceNames(msgspec.Struct, frozen=True, gc=False):
    """What a trace is listed by."""

    trace_id: str
    query_class: str
    agent: str


Named: TypeAlias = TraceNames | FeedbackReading | DecisionReading | ForgetReading


def read_names(value: bytes | None, *, max_bytes: int, classify: Callable[[str], str]) -> Named:
    """Read a record of the log.

    Args:
        value: as the broker hands it out.
        max_bytes: size above which it is refused.
        classify: gives the class of a query, for traces that name none.

    Raises:
        MalformedRecordError: where `read_record` raises it.
    """
    try:
        trace = decode_plain(value)  # type: ignore[arg-type]  # of a tombstone it raises
    except NOT_READABLE:
        trace = None
    if trace is None or value is None or (trace.type is not None and trace.type != "trace") or len(value) > max_bytes or (len(value) > SAFE_BYTES and may_be_deep(value)):
        reading = read_record(value, max_bytes=max_bytes, classify=classify)
        return TraceNames(reading.trace_id, reading.query_class, reading.arm.agent) if type(reading) is TraceReading else reading  # type: ignore[return-value]
    read_arm(trace.model, trace.agent, trace.config_version, trace.adapter)
    if trace.decision is not None:
        arm_drawn(trace.decision)
    return TraceNames(trace.trace_id, read_class(trace.query_class or class_of(trace, classify)), trace.agent)
