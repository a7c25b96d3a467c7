"""Reading an untrusted record of `eddy.traces`: a reading, or a refusal with its reason.

Only what the fold needs is decoded: steps, messages, metadata and all fields that are not known are skipped over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeAlias

import msgspec

from stream.errors import MalformedRecordError
from stream.reading.arm import FullArm, read_arm, read_class, read_name
from stream.reading.depth import SAFE_BYTES, check_depth, may_be_deep
from stream.reading.outcome import Outcome, read_outcome
from stream.reading.query_class import ask
from stream.reading.tenant import set_apart
from stream.records import SCHEMA, RaterKind

REASONS: tuple[str, ...] = (
    "tombstone",
    "too_large",
    "not_json",
    "wrong_type",
    "missing_field",
    "unknown_schema",
    "unknown_type",
    "bad_trace_id",
    "bad_name",
    "bad_agent",
    "out_of_range",
    "future",
    "internal_error",
)
"""Why a record is refused: a closed set, label values of metrics."""

TRACE_ID_MAX_CHARS = 256
SCHEMAS = range(max(1, SCHEMA - 2), SCHEMA + 1)
MICRO, NANO, MILLI = 1_000_000, 1_000_000_000, 1_000

# Beyond these a quantity is an error of whoever measured it: a million dollars, 115 days, a trillion tokens.
COST_MAX_USD = 1e6
LATENCY_MAX_S = 1e7
TOKENS_MAX = 10**12
SPOKEN_MAX = 1e300  # a sender's integer may be greater than every float, and such a one cannot be formatted


class TraceReading(msgspec.Struct, frozen=True, gc=False):
    """What the fold takes from a trace. A quantity of -1 is unknown."""

    trace_id: str
    query_class: str
    arm: FullArm
    drawn: bool | None
    """Whether its own decision is a draw of the arm that served; None where it brought no decision."""
    outcome: Outcome
    inline_micro: int
    cost_nano_usd: int
    latency_ms: int
    tokens: int
    reward_micro: int = -1  # what a reward other than quality says; see `stream.reading.reward`


class FeedbackReading(msgspec.Struct, frozen=True, gc=False):
    """One rater's word on one trace."""

    trace_id: str
    rater: str
    rater_kind: RaterKind
    micro: int
    given_at_s: float


class DecisionReading(msgspec.Struct, frozen=True, gc=False):
    """A decision that travels by itself."""

    trace_id: str
    query_class: str  # empty where it names none
    arm: FullArm
    drawn: bool  # with a known propensity


class ForgetReading(msgspec.Struct, frozen=True, gc=False):
    """A trace to be forgotten."""

    trace_id: str


Reading: TypeAlias = TraceReading | FeedbackReading | DecisionReading | ForgetReading


class _Arm(msgspec.Struct, gc=False):
    model: str = ""
    agent: str = ""
    config_version: str = ""
    adapter: str = ""


class RawDecision(msgspec.Struct, kw_only=True, gc=False):
    """A decision as it is decoded, unchecked."""

    kind: str = ""
    arm: _Arm
    propensity: float | None = None
    query_class: str = ""


class RawTrace(msgspec.Struct, kw_only=True, gc=False):
    """A trace as it is decoded, unchecked; its fields in the order in which `stream.records.Trace` is written, which is the cheapest to read."""

    type: str | None = None
    schema: int = SCHEMA
    trace_id: str
    query: str = ""
    agent: str = ""
    model: str = ""
    outcome: str | None = None
    feedback: float | None = None
    total_tokens: int | float = 0
    total_latency_seconds: float = 0.0
    cost_usd: float = 0.0
    query_class: str = ""
    config_version: str = ""
    adapter: str = ""
    decision: RawDecision | None = None


class RawFeedback(msgspec.Struct, gc=False):
    """Feedback as it is decoded, unchecked."""

    trace_id: str
    rater: str
    rater_kind: RaterKind
    score: float
    given_at: float
    schema: int = SCHEMA


class _Decision(RawDecision, kw_only=True, gc=False):
    trace_id: str
    schema: int = SCHEMA


class _Forget(msgspec.Struct, gc=False):
    trace_id: str
    schema: int = SCHEMA


class _Type(msgspec.Struct, gc=False):
    type: str | None = None


decode_trace = msgspec.json.Decoder(RawTrace).decode
decode_feedback = msgspec.json.Decoder(RawFeedback).decode
decode_decision = msgspec.json.Decoder(_Decision).decode
_decode_forget = msgspec.json.Decoder(_Forget).decode
_decode_type = msgspec.json.Decoder(_Type).decode


def read_record(value: bytes | None, *, max_bytes: int, classify: Callable[[str], str], apart: bool = False) -> Reading:
    """Read a record of the log.

    Args:
        value: as the broker hands it out.
        max_bytes: size above which it is refused.
        classify: gives the class of a query, for traces that name none.
        apart: whether tenants are kept apart; a trace's class is then one of its tenant's own.

    Raises:
        MalformedRecordError: with one of `REASONS`; never anything else, whatever the value and the classifier are.
    """
    try:
        if value is None:
            raise MalformedRecordError("tombstone", "the record has no value, but every record of the log says something; send a Forget to remove a trace")
        if len(value) > max_bytes:
            raise MalformedRecordError("too_large", f"the record has {len(value)} bytes, but at most {max_bytes} are read (EDDY_MAX_RECORD_BYTES)")
        if len(value) > SAFE_BYTES and may_be_deep(value):
            check_depth(value)
        reading = _read(value, classify)
        return set_apart(reading, value) if apart else reading
    except MalformedRecordError:
        raise
    except msgspec.ValidationError as exc:
        raise MalformedRecordError(_reason_of(str(exc)), str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedRecordError("not_json", str(exc)) from exc
    except Exception as exc:
        raise MalformedRecordError("internal_error", f"{type(exc).__name__}: {exc}") from exc


def _reason_of(message: str) -> str:
    if "out of range" in message:
        return "out_of_range"
    return "missing_field" if "missing required field" in message else "wrong_type"


def _read(value: bytes, classify: Callable[[str], str]) -> Reading:
    try:
        trace = decode_trace(value)
    except msgspec.ValidationError:  # another type may have fields of these names, of its own or its sender's
        kind = _decode_type(value).type
        if kind is None or kind == "trace":
            raise
        return _read_by_type(value, kind)
    kind = trace.type
    return _read_trace(trace, classify) if kind is None or kind == "trace" else _read_by_type(value, kind)


def _read_by_type(value: bytes, kind: str) -> Reading:
    if kind == "feedback":
        return read_feedback(decode_feedback(value))
    if kind == "decision":
        return read_decision(decode_decision(value))
    if kind == "forget":
        forget = _decode_forget(value)
        return ForgetReading(_identify(forget.trace_id, forget.schema))
    raise MalformedRecordError("unknown_type", f"type {kind[:40]!r} is none of trace, feedback, decision, forget")


def _read_trace(trace: RawTrace, classify: Callable[[str], str]) -> TraceReading:
    arm = read_arm(trace.model, trace.agent, trace.config_version, trace.adapter)
    decision = trace.decision
    draws = None if decision is None else arm_drawn(decision)
    query_class = trace.query_class or class_of(trace, classify)
    cost_usd, latency_s, tokens = trace.cost_usd, trace.total_latency_seconds, trace.total_tokens
    if not (0.0 <= cost_usd <= COST_MAX_USD and 0.0 <= latency_s <= LATENCY_MAX_S and 0 <= tokens <= TOKENS_MAX and tokens == int(tokens)):
        _refuse_quantities(trace)
    return TraceReading(
        _identify(trace.trace_id, trace.schema),
        read_class(query_class),
        arm,
        None if decision is None else draws is not None and draws.allows(arm),
        read_outcome(trace.outcome),
        _inline_micro(trace.feedback),
        int(cost_usd * NANO + 0.5) if cost_usd else -1,
        int(latency_s * MILLI + 0.5) if latency_s else -1,
        int(tokens) if tokens else -1,
    )


def class_of(trace: RawTrace, classify: Callable[[str], str]) -> str:
    """Find the class of a trace that names none.

    Raises:
        MalformedRecordError: `internal_error`, the classifier cannot say.
    """
    return ("" if trace.decision is None else trace.decision.query_class) or ask(classify, trace.query)


def read_feedback(feedback: RawFeedback) -> FeedbackReading:
    """Check feedback.

    Raises:
        MalformedRecordError: with what is wrong.
    """
    return FeedbackReading(
        _identify(feedback.trace_id, feedback.schema),
        read_name(feedback.rater, "rater"),
        feedback.rater_kind,
        _score(feedback.score, "score"),
        feedback.given_at + 0.0,  # -0.0 and 0.0 are one time and must be one byte string
    )


def read_decision(decision: _Decision) -> DecisionReading:
    """Check a decision.

    Raises:
        MalformedRecordError: with what is wrong.
    """
    drawn, query_class = arm_drawn(decision) is not None, decision.query_class and read_class(decision.query_class)
    return DecisionReading(_identify(decision.trace_id, decision.schema), query_class, read_arm(*msgspec.structs.astuple(decision.arm)), drawn)


def arm_drawn(decision: RawDecision) -> FullArm | None:
    """Return the arm if the decision was a draw with a known propensity.

    Raises:
        MalformedRecordError: a name or the propensity cannot be used.
    """
    named, propensity = read_arm(*msgspec.structs.astuple(decision.arm)), decision.propensity
    if decision.kind != "drawn" or propensity is None:
        return None
    if not 0.0 < propensity <= 1.0:
        raise MalformedRecordError("out_of_range", f"propensity is {propensity}, but a probability of what was drawn lies in (0, 1]")
    return named


def _identify(trace_id: str, schema: int) -> str:
    if schema != SCHEMA and schema not in SCHEMAS:
        raise MalformedRecordError("unknown_schema", f"schema is {schema}, but this version reads {SCHEMAS.start} to {SCHEMA}")
    if not 0 < len(trace_id) <= TRACE_ID_MAX_CHARS:
        raise MalformedRecordError("bad_trace_id", f"trace_id has {len(trace_id)} characters, but 1 to {TRACE_ID_MAX_CHARS} are allowed")
    return trace_id


def _inline_micro(feedback: float | None) -> int:
    """Return the micro-score that a trace brings with it; -1 if none, or if it is on another scale than ours: the trace counts all the same."""
    return int(feedback * MICRO + 0.5) if feedback is not None and 0.0 <= feedback <= 1.0 else -1


def _score(score: float, field: str) -> int:
    if not 0.0 <= score <= 1.0:
        raise MalformedRecordError("out_of_range", f"{field} is {score}, but a score lies in [0, 1]")
    return int(score * MICRO + 0.5)


def _refuse_quantities(trace: RawTrace) -> NoReturn:
    """Say which quantity of a trace cannot be used."""
    for field, amount, greatest in (
        ("cost_usd", trace.cost_usd, COST_MAX_USD),
        ("total_latency_seconds", trace.total_latency_seconds, LATENCY_MAX_S),
        ("total_tokens", trace.total_tokens, TOKENS_MAX),
    ):
        if not 0 <= amount <= greatest:
            said = f"{amount:.40g}" if abs(amount) < SPOKEN_MAX else "of more than 300 digits"
            raise MalformedRecordError("out_of_range", f"{field} is {said}, but it lies in [0, {greatest:g}]; 0 or absent is unknown")
    raise MalformedRecordError("wrong_type", f"total_tokens is {trace.total_tokens}, but tokens come whole")
