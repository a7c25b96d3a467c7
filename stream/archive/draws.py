"""Draws read back out of the archive: each with what its request earned, cost and took in the end.

What is archived was written by anyone: a decision that does not fit together is no draw.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from stream.archive.blocks import Entry, Kind
from stream.archive.reader import ArchivedTrace, ArchiveReader
from stream.errors import MalformedRecordError
from stream.reading.arm import read_class
from stream.reading.record import MICRO, MILLI, NANO, TraceReading, read_record
from stream.reading.reward import Reward, reward_micro
from stream.reading.tenant import class_apart
from stream.records import Arm
from stream.routing.off_policy_draws import LoggedDraw
from stream.routing.settings import project

MOST_CANDIDATES = 1_024
"""More than any router is given; a decision that names more is no draw."""
WAITING = 65_536
"""Decisions kept until their trace comes, of one partition: an hour's at 18 a second, and at most 50 MB."""


class _Said(msgspec.Struct):
    """A decision as it is decoded."""

    kind: str
    arm: Arm
    propensity: float | None = None
    candidates: tuple[str, ...] = ()
    query_class: str = ""


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
    silence: Silence | None = None,
    wanted: Callable[[ArchivedTrace], bool] = lambda _: True,
) -> Iterator[LoggedDraw | None]:
    """Read the requests of a period, in the order of archiving: each as a draw, or None where no router drew its arm.

    Args:
        reader: of the archive.
        fields: the fields of an arm that are routed over.
        since_ms: log time at which the period begins.
        query_class: only requests of this class.
        before: is given every record that is archived before the trace whose draw comes next, each once.
        from_ms: log time of the first record that `before` is given; the period's beginning where it is None.
        reward: what a trace earned; its score where it is None.
        silence: how a draw whose trace never came counts as a failure; None where it is left out.
        wanted: whose draws are asked for; those of other traces are None.
    """
    entries = reader.entries(after_seq=reader.number_at(since_ms if from_ms is None else from_ms) - 1)
    waiting = Waiting(reader, fields=fields, since_ms=since_ms, query_class=query_class, silence=silence)
    entry = next(entries, None)
    for trace in reader.traces(query_class=query_class, since_ms=since_ms, newest_first=False):
        while entry is not None and entry.seq < trace.entry.seq:
            yield from waiting.take(entry)
            if before:
                before(entry)
            entry = next(entries, None)
        said = waiting.decision_on(trace.entry)
        yield draw_of(trace, said, fields, reward) if wanted(trace) else None
    while entry is not None:
        yield from waiting.take(entry)
        entry = next(entries, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """How silence counts as failure.

    Attributes:
        deadline_s: how long after its decision a trace may come, in seconds of its partition's log time.
        source: whose score the failure is.
        apart: whether tenants are kept apart.
    """

    deadline_s: int
    source: str = "outcome"
    apart: bool = False


class Waiting:
    """Decisions that travelled by themselves, until their trace comes or its deadline passes.

    Args:
        reader: says of a decision whose deadline has passed whether its trace came after all.
        fields: the fields of an arm that are routed over.
        since_ms: decisions before this log time are none of the period.
        query_class: only decisions of this class fall silent.
        silence: how; None where nothing does.
    """

    def __init__(self, reader: ArchiveReader, *, fields: tuple[str, ...], since_ms: int, query_class: str | None, silence: Silence | None) -> None:
        self._reader, self._fields, self._since_ms, self._query_class, self._silence = reader, fields, since_ms, query_class, silence
        self._waiting: dict[int, dict[str, tuple[Entry, _Said]]] = defaultdict(dict)
        self._late: dict[str, _Said] = {}
        """Decisions whose trace comes, but after the deadline."""

    def decision_on(self, entry: Entry) -> _Said | None:
        """The decision on a trace; the first one counts, as in the fold."""
        name = entry.trace_id or ""
        found = self._waiting[entry.partition].get(name)
        return found[1] if found else self._late.pop(name, None)

    def take(self, entry: Entry) -> Iterator[LoggedDraw]:
        """Take the next record; returns the draws of whose deadline its time tells that it has passed."""
        waiting = self._waiting[entry.partition]
        while waiting and self._silence and (first := next(iter(waiting.values())))[0].timestamp_ms + self._silence.deadline_s * 1000 < entry.timestamp_ms:
            del waiting[first[0].trace_id or ""]
            if draw := self._fallen(*first):
                yield draw
        if entry.kind is Kind.TRACE:
            waiting.pop(entry.trace_id or "", None)
        elif entry.kind is Kind.DECISION and entry.trace_id is not None and entry.trace_id not in waiting:
            self._keep(waiting, entry, entry.trace_id)

    def _keep(self, waiting: dict[str, tuple[Entry, _Said]], entry: Entry, trace_id: str) -> None:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            waiting[trace_id] = entry, _decode_decision(entry.value or b"")
        if len(waiting) > WAITING:
            del waiting[next(iter(waiting))]

    def _fallen(self, entry: Entry, said: _Said) -> LoggedDraw | None:
        """The draw of a decision, as a failure, unless its trace came after all or it is none of these draws."""
        if self._reader.trace(entry.trace_id or "") is not None:
            self._late[entry.trace_id or ""] = said
            return None
        if self._silence is None or entry.timestamp_ms < self._since_ms:
            return None
        with suppress(MalformedRecordError, msgspec.ValidationError):
            name = class_apart(entry.value or b"", said.query_class) if self._silence.apart else read_class(said.query_class)
            if name and self._query_class in (None, name):
                return _drawn(said, self._fields, query_class=name, scores={self._silence.source: 0.0})
        return None


def decision_apart(reader: ArchiveReader, entry: Entry) -> _Said | None:
    """Find the decision on a trace that travelled by itself: the first one, as in the fold. None where there is none, or the trace has its own."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        if _decode_trace(entry.value or b"").decision is not None:
            return None
    for each in reader.about(entry.trace_id or ""):
        if each.kind is Kind.DECISION:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                return _decode_decision(each.value or b"")
    return None


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
    if not isinstance(reading, TraceReading) or said is None or not _serves(said, reading):
        return None
    return _drawn(
        said,
        fields,
        query_class=trace.entry.query_class,
        scores=trace.scores(reading) if reward is None else _rewarded(reward, value),
        cost_usd=reading.cost_nano_usd / NANO if reading.cost_nano_usd >= 0 else None,
        latency_s=reading.latency_ms / MILLI if reading.latency_ms >= 0 else None,
    )


def _drawn(
    said: _Said, fields: tuple[str, ...], *, query_class: str, scores: Mapping[str, float], cost_usd: float | None = None, latency_s: float | None = None
) -> LoggedDraw | None:
    """A decision as a draw; None where it is none."""
    if said.kind != "drawn" or said.propensity is None or not 0.0 < said.propensity <= 1.0 or len(said.candidates) > MOST_CANDIDATES:
        return None
    arm, candidates = _arm_id(said.arm, fields), _candidates(said.candidates, fields)
    if not arm or (candidates and arm not in candidates):
        return None
    return LoggedDraw(query_class=query_class, arm=arm, propensity=said.propensity, candidates=candidates, scores=scores, cost_usd=cost_usd, latency_s=latency_s)


def _rewarded(reward: Reward, value: bytes) -> dict[str, float]:
    micro = reward_micro(reward, value)
    return {"reward": micro / MICRO} if micro >= 0 else {}


def _serves(said: _Said, reading: TraceReading) -> bool:
    """Whether the arm that was decided is the one that served."""
    named = (said.arm.model, said.arm.agent, said.arm.config_version, said.arm.adapter)
    return all(not name or name == served for name, served in zip(named, reading.arm, strict=True))


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
