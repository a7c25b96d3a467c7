"""What is new in the archive: each trace with its score, as a conversation, on its side of the split; the one reader of all that learns from answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from stream.archive.late import as_of, rated_late
from stream.learning.splits import Split, normalised, split_of

if TYPE_CHECKING:
    from stream.archive.reader import ArchivedTrace, ArchiveReader


class _Step(msgspec.Struct):
    step_type: str = ""
    input: dict[str, Any] = msgspec.field(default_factory=dict)
    output: dict[str, Any] = msgspec.field(default_factory=dict)


class Said(msgspec.Struct):
    """What a trace says; what of it cannot be read as a trace's makes it none."""

    trace_id: str = ""
    query: str = ""
    result: str = ""
    session_id: str = ""
    outcome: str | None = None
    agent: str = ""
    model: str = ""
    decision: Any = None
    steps: list[_Step] = msgspec.field(default_factory=list)
    messages: Any = None


class Conversed(Protocol):
    """What a conversation is written from, in whatever form a trace comes."""

    @property
    def query(self) -> str:
        """What was asked."""

    @property
    def result(self) -> str:
        """What was answered."""

    @property
    def steps(self) -> Any:
        """Each with `step_type`, `input` and `output`."""

    @property
    def messages(self) -> Any:
        """The conversation, where it was recorded."""


_decode = msgspec.json.Decoder(Said).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Which traces are read.

    Attributes:
        after_seq: number of the record after which a trace, or what was said of it, is new (see `ArchiveReader.indexed`).
        until: number of the last record that counts; None: of the last that there is.
        since_ms: log time, in epoch milliseconds, from which traces count.
        agent: only of this one.
        query_class: only of this class.
        also: numbers of traces that are read besides, as an earlier reading left them over.
    """

    after_seq: int = 0
    until: int | None = None
    since_ms: int = 0
    agent: str | None = None
    query_class: str | None = None
    also: Sequence[int] = ()

    def holds(self, trace: ArchivedTrace) -> bool:
        """Whether a trace is one of its agent and class."""
        return self.agent in (None, trace.entry.agent) and self.query_class in (None, trace.entry.query_class)


@dataclass(frozen=True, slots=True)
class New:
    """A trace that is new, or of which something new is known.

    Attributes:
        trace: with what its raters had said when the period ended.
        said: what it says.
        score: its best source's, in [0, 1]; None where nobody scored it.
        before: for one that was archived before the period, its score then.
        is_late: whether it is such a one.
    """

    trace: ArchivedTrace
    said: Said
    score: float | None
    before: float | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A trace to learn from.

    Attributes:
        seq: its number in the archive.
        trace_id: its id.
        query: what was asked; not empty.
        result: what was answered; not empty.
        query_class: of the query.
        agent: who answered.
        model: that answered.
        outcome: `success`, `failure` or None.
        score: its best source's, in [0, 1]; None where nobody scored it.
        split: the side that its query, or session, is on.
        messages: the conversation, tool calls included.
        before: for one that was archived before the period, its score then.
        is_late: whether it is such a one.
    """

    seq: int
    trace_id: str
    query: str
    result: str
    query_class: str
    agent: str
    model: str
    outcome: str | None
    score: float | None
    split: Split
    messages: list[dict[str, Any]]
    before: float | None = None
    is_late: bool = False

    @property
    def name(self) -> bytes:
        """What queries that are written alike have in common, in 16 bytes."""
        return hashlib.blake2b(normalised(self.query).encode(errors="surrogatepass"), digest_size=16).digest()


def news(reader: ArchiveReader, period: Period) -> Iterator[New]:
    """Read the traces that are new, oldest first, and after them those that were archived earlier and rated meanwhile.

    A trace has the score that it had when the period ended: what is said later is news of the next.
    """
    until, also = reader.indexed if period.until is None else period.until, frozenset(period.also)
    for trace in chain(reader.numbered(also), _archived(reader, period, until)):
        if (said := _read(trace)) is not None:
            yield New(trace, said, _score(as_of(reader, trace, until)))
    for trace in rated_late(reader, after_seq=period.after_seq, until=until) if period.after_seq else ():
        if period.holds(trace) and trace.entry.seq not in also and (said := _read(trace)) is not None:
            yield New(trace, said, _score(trace), _score(as_of(reader, trace, period.after_seq)), is_late=True)


def answers(reader: ArchiveReader, period: Period) -> Iterator[Answer]:
    """Read the answers among what is new; traces without a query or a result are none."""
    for new in news(reader, period):
        said = new.said
        if said.query.strip() and said.result.strip():
            yield Answer(
                seq=new.trace.entry.seq,
                trace_id=said.trace_id,
                query=said.query,
                result=said.result,
                query_class=new.trace.entry.query_class,
                agent=said.agent,
                model=said.model,
                outcome=said.outcome,
                score=new.score,
                split=split_of(said.query, said.session_id),
                messages=conversation(said),
                before=new.before,
                is_late=new.is_late,
            )


def _archived(reader: ArchiveReader, period: Period, until: int) -> Iterator[ArchivedTrace]:
    for trace in reader.traces(agent=period.agent, query_class=period.query_class, after_seq=period.after_seq, since_ms=period.since_ms, newest_first=False):
        if trace.entry.seq > until:
            return
        yield trace


def _score(trace: ArchivedTrace) -> float | None:
    found = trace.score()
    return None if found is None else found[1]


def _read(trace: ArchivedTrace) -> Said | None:
    try:
        return _decode(trace.entry.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def conversation(said: Conversed) -> list[dict[str, Any]]:
    """Write a trace as chat messages: as it was recorded, else the query, each tool call with what it gave, and the answer.

    Example:
        >>> step = _Step(step_type="tool_call", input={"tool": "add", "arguments": {"a": 1}}, output={"result": 2})
        >>> [message["role"] for message in conversation(Said(query="1+1?", result="2", steps=[step]))]
        ['user', 'assistant', 'tool', 'assistant']
    """
    if isinstance(said.messages, list) and said.messages and all(isinstance(message, dict) for message in said.messages):
        return said.messages
    calls = [step for step in said.steps if step.step_type == "tool_call" and isinstance(step.input.get("tool"), str)]
    between = [message for number, step in enumerate(calls) for message in _call(number, step)]
    return [{"role": "user", "content": said.query}, *between, {"role": "assistant", "content": said.result}]


def _call(number: int, step: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    name, arguments, result = step.input["tool"], step.input.get("arguments", {}), step.output.get("result", "")
    call = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": _text(arguments)}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "name": name, "content": _text(result)}


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
