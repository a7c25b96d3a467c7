"""Reading a whole chunk: what `read_record` says of each record, in as few steps as a plain one needs.

Plain are traces that can be counted as they stand, feedback and decisions, each under its own key. Whatever else a record is, and whatever is
wrong with it, is left to `read_record`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta
from msgspec.structs import astuple
from xxhash import xxh3_128_digest

from stream.errors import MalformedRecordError
from stream.reading.depth import SAFE_BYTES, may_be_deep
from stream.reading.outcome import OUTCOMES
from stream.reading.record import (
    COST_MAX_USD,
    LATENCY_MAX_S,
    MICRO,
    MILLI,
    NANO,
    TOKENS_MAX,
    TRACE_ID_MAX_CHARS,
    DecisionReading,
    FeedbackReading,
    RawDecision,
    RawTrace,
    arm_drawn,
    class_of,
    decode_decision,
    decode_feedback,
    read_decision,
    read_feedback,
)
from stream.reading.tenant import class_apart, set_apart
from stream.records import SCHEMA

Cell: TypeAlias = tuple[str, str, str, str, str]
"""Query class, and the names of the arm: not checked, since whoever knows a cell of these names has checked them."""
Arrival: TypeAlias = tuple[int, int, int, int, int]
"""What a trace adds to sums: nano-dollars, milliseconds, tokens (-1 where unknown), its outcome, and its inline micro-score or -1."""


Said: TypeAlias = FeedbackReading | DecisionReading
"""What is said of a trace."""


class PlainTrace(NamedTuple):
    """A trace to be counted."""

    key: bytes
    """Hash of the trace id."""
    cell: Cell
    is_draw: bool
    """Whether it brought a decision that drew its arm."""
    arrival: Arrival


KEY_BYTES = 15
"""Bytes kept of a trace id's 128-bit hash: 120 bits still make a collision unheard of, and a `bytes` of 15 takes 48 bytes of memory where one of 16 takes 64."""
NOT_READABLE = (ValueError, TypeError, RecursionError)
"""What decoding raises; msgspec's errors are `ValueError`s, and a tombstone has no value to decode."""


class _Trace(RawTrace, kw_only=True, gc=False):
    """A trace whose fields are within their bounds, which the decoder sees to; its fields are in the order of `RawTrace`."""

    type: str | None = None
    schema: Literal[SCHEMA] = SCHEMA  # type: ignore[valid-type]
    trace_id: Annotated[str, Meta(min_length=1, max_length=TRACE_ID_MAX_CHARS)]
    query: str = ""
    agent: str = ""
    model: str = ""
    outcome: str | None = None
    feedback: float | None = None
    total_tokens: Annotated[int, Meta(ge=0, le=TOKENS_MAX)] = 0
    total_latency_seconds: Annotated[float, Meta(ge=0.0, le=LATENCY_MAX_S)] = 0.0
    cost_usd: Annotated[float, Meta(ge=0.0, le=COST_MAX_USD)] = 0.0
    query_class: str = ""
    config_version: str = ""
    adapter: str = ""
    decision: RawDecision | None = None


decode_plain = msgspec.json.Decoder(_Trace).decode


def hash_key(key: bytes) -> bytes:
    """Return the hash under which a trace id is known."""
    return xxh3_128_digest(key)[:KEY_BYTES]


def read_chunk(records: Sequence[Any], *, max_bytes: int, classify: Callable[[str], str], apart: bool = False) -> list[tuple[Any, ...] | Said | None]:
    """Read the plain records of a chunk.

    Args:
        records: with `key` and `value`.
        max_bytes: size above which a record is refused.
        classify: gives the class of a query, for traces that name none.
        apart: whether tenants are kept apart.

    Returns:
        Of each record a tuple with the fields of `PlainTrace`, or what it says of a trace; None where it is to be read by `read_record`.
    """
    readings = [_read(record, max_bytes, classify) for record in records]
    return [_apart(reading, record.value) for reading, record in zip(readings, records, strict=True)] if apart else readings


def _apart(reading: tuple[Any, ...] | Said | None, value: bytes) -> tuple[Any, ...] | Said | None:
    try:
        if not isinstance(reading, tuple):
            return reading and set_apart(reading, value)
        key, (query_class, *arm), is_draw, arrival = reading
        return key, (class_apart(value, query_class), *arm), is_draw, arrival
    except (*NOT_READABLE, MalformedRecordError):
        return None


def _read(record: Any, max_bytes: int, classify: Callable[[str], str]) -> tuple[Any, ...] | Said | None:
    value, key = record.value, record.key
    try:
        trace = decode_plain(value)
    except NOT_READABLE:
        return None
    kind, _, trace_id, _, agent, model, outcome, rating, tokens, latency_s, cost_usd, query_class, config_version, adapter, decision = astuple(trace)
    if trace_id.encode() != key or len(value) > max_bytes or (len(value) > SAFE_BYTES and may_be_deep(value)):
        return None
    if kind is not None and kind != "trace":
        return _said(value, kind)
    is_draw = False
    if decision is not None or not query_class:
        try:
            query_class = query_class or class_of(trace, classify)
            is_draw = decision is not None and (drawn := arm_drawn(decision)) is not None and drawn.allows((model, agent, config_version, adapter))
        except MalformedRecordError:
            return None
    return (  # a plain tuple: a named one takes four times as long to make
        xxh3_128_digest(key)[:KEY_BYTES],
        (query_class, model, agent, config_version, adapter),
        is_draw,
        (
            int(cost_usd * NANO + 0.5) if cost_usd else -1,
            int(latency_s * MILLI + 0.5) if latency_s else -1,
            tokens or -1,
            OUTCOMES.get(outcome, 0),
            int(rating * MICRO + 0.5) if rating is not None and 0.0 <= rating <= 1.0 else -1,
        ),
    )


def _said(value: bytes, kind: str) -> Said | None:
    try:
        if kind == "feedback":
            return read_feedback(decode_feedback(value))
        return read_decision(decode_decision(value)) if kind == "decision" else None
    except (*NOT_READABLE, MalformedRecordError):
        return None
