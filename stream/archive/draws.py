"""Draws read back out of the archive: each with what its request earned, cost and took in the end.

What is archived was written by anyone: a decision that does not fit together is no draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import msgspec

from stream.archive.blocks import Entry, Kind
from stream.archive.reader import ArchivedTrace, ArchiveReader
from stream.errors import MalformedRecordError
from stream.reading.record import MICRO, MILLI, NANO, TraceReading, read_record
from stream.reading.reward import Reward, reward_micro
from stream.records import Arm
from stream.routing.off_policy_draws import LoggedDraw
from stream.routing.settings import project

MOST_CANDIDATES = 1_024
"""More than any router is given; a decision that names more is no draw."""
WAITING = 262_144
"""Decisions kept until their trace comes, as many as a partition's join index holds."""


class _Said(msgspec.Struct):
    """A decision as it is decoded."""

    kind: str
    arm: Arm
    propensity: float | None = None
    candidates: tuple[str, ...] = ()


class _Saying(msgspec.Struct):
    decision: _Said | None = None


_decode_decision = msgspec.json.Decoder(_Said).decode
_decode_trace = msgspec.json.Decoder(_Saying).decode


def read_draws(
    reader: ArchiveReader,
    *,
    fields: tuple[str, ...],
    since_ms: int = 0,
    query_class: str | None = None,
    before: Callable[[Entry], None] | None = None,
    from_ms: int | None = None,
    reward: Reward | None = None,
) -> Iterator[LoggedDraw | None]:
    """Read the traces of a period, in the order of archiving: each as a draw, or None where no router drew its arm.

    Args:
        reader: of the archive.
        fields: the fields of an arm that are routed over.
        since_ms: log time at which the period begins.
        query_class: only traces of this class.
        before: is given every record that is archived before the trace whose draw comes next, each once.
        from_ms: log time of the first record that `before` is given; the period's beginning where it is None.
        reward: what a trace earned; its score where it is None.
    """
    entries = reader.entries(after_seq=reader.number_at(since_ms if from_ms is None else from_ms) - 1)
    waiting: dict[str, _Said] = {}
    entry = next(entries, None)
    for trace in reader.traces(query_class=query_class, since_ms=since_ms, newest_first=False):
        while entry is not None and entry.seq < trace.entry.seq:
            _keep_decision(waiting, entry)
            if before:
                before(entry)
            entry = next(entries, None)
        yield draw_of(trace, waiting.pop(trace.entry.trace_id or "", None), fields, reward)


def _keep_decision(waiting: dict[str, _Said], entry: Entry) -> None:
    """Keep the first decision on a request that travels by itself, as the fold does; the oldest leaves where there are too many."""
    if entry.kind is not Kind.DECISION or entry.trace_id is None or entry.trace_id in waiting:
        return
    try:
        waiting[entry.trace_id] = _decode_decision(entry.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if len(waiting) > WAITING:
        del waiting[next(iter(waiting))]


def draw_of(trace: ArchivedTrace, apart: _Said | None, fields: tuple[str, ...], reward: Reward | None = None) -> LoggedDraw | None:
    """Take the draw out of a trace; None where its arm was not drawn with a known propensity, or its decision does not fit together.

    Args:
        trace: with its final ratings.
        apart: the decision that travelled by itself, or None; the trace's own outranks it.
        fields: the fields of an arm that are routed over.
        reward: what a trace earned; its score where it is None.
    """
    value = trace.entry.value or b""
    try:
        reading = read_record(value, max_bytes=len(value), classify=lambda _: trace.entry.query_class or "unknown")
        said = _decode_trace(value).decision or apart
    except (MalformedRecordError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(reading, TraceReading) or said is None or not _is_draw(said, reading):
        return None
    arm, candidates = _arm_id(said.arm, fields), _candidates(said.candidates, fields)
    if not arm or (candidates and arm not in candidates):
        return None
    return LoggedDraw(
        query_class=trace.entry.query_class,
        arm=arm,
        propensity=float(said.propensity or 0.0),
        candidates=candidates,
        scores=trace.scores(reading) if reward is None else _rewarded(reward, value),
        cost_usd=reading.cost_nano_usd / NANO if reading.cost_nano_usd >= 0 else None,
        latency_s=reading.latency_ms / MILLI if reading.latency_ms >= 0 else None,
    )


def _rewarded(reward: Reward, value: bytes) -> dict[str, float]:
    micro = reward_micro(reward, value)
    return {"reward": micro / MICRO} if micro >= 0 else {}


def _is_draw(said: _Said, reading: TraceReading) -> bool:
    """Whether the decision is a draw, with a probability, of the arm that served."""
    named = (said.arm.model, said.arm.agent, said.arm.config_version, said.arm.adapter)
    serves = all(not name or name == served for name, served in zip(named, reading.arm, strict=True))
    return said.kind == "drawn" and said.propensity is not None and 0.0 < said.propensity <= 1.0 and serves and len(said.candidates) <= MOST_CANDIDATES


@lru_cache(maxsize=4_096)
def _arm_id(arm: Arm, fields: tuple[str, ...]) -> str:
    return project(arm, fields).id


@lru_cache(maxsize=4_096)
def _candidates(names: tuple[str, ...], fields: tuple[str, ...]) -> tuple[str, ...]:
    """The candidates by their routed fields; one that no arm can be where a name is no arm's."""
    try:
        return tuple(dict.fromkeys(_arm_id(Arm.parse(name), fields) for name in names))
    except ValueError:  # more fields than an arm has
        return ("",)
