"""Answers read out of the archive: each trace with its final score, as a conversation, on its side of the split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from stream.learning.splits import Split, normalised, split_of

if TYPE_CHECKING:
    from stream.archive.reader import ArchivedTrace, ArchiveReader


class _Step(msgspec.Struct):
    step_type: str = ""
    input: dict[str, Any] = msgspec.field(default_factory=dict)
    output: dict[str, Any] = msgspec.field(default_factory=dict)


class _Said(msgspec.Struct):
    trace_id: str = ""
    query: str = ""
    result: str = ""
    session_id: str = ""
    outcome: str | None = None
    agent: str = ""
    model: str = ""
    steps: list[_Step] = msgspec.field(default_factory=list)
    messages: list[dict[str, Any]] = msgspec.field(default_factory=list)


_decode = msgspec.json.Decoder(_Said).decode


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

    @property
    def name(self) -> bytes:
        """What queries that are written alike have in common, in 16 bytes."""
        return hashlib.blake2b(normalised(self.query).encode(errors="surrogatepass"), digest_size=16).digest()


def answers(reader: ArchiveReader, *, agent: str | None = None, query_class: str | None = None, after_seq: int = 0, since_ms: int = 0) -> Iterator[Answer]:
    """Read the answers that were archived after a record, oldest first; traces without a query or a result are none.

    Args:
        reader: of the archive.
        agent: only of this one.
        query_class: only of this class.
        after_seq: number of a record (see `ArchiveReader.indexed`).
        since_ms: log time, in epoch milliseconds, from which traces count.
    """
    for trace in reader.traces(agent=agent, query_class=query_class, after_seq=after_seq, since_ms=since_ms, newest_first=False):
        if (answer := _answer(trace)) is not None:
            yield answer


def _answer(trace: ArchivedTrace) -> Answer | None:
    try:
        said = _decode(trace.entry.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not said.query.strip() or not said.result.strip():
        return None
    score = trace.score()
    return Answer(
        seq=trace.entry.seq,
        trace_id=said.trace_id,
        query=said.query,
        result=said.result,
        query_class=trace.entry.query_class,
        agent=said.agent,
        model=said.model,
        outcome=said.outcome,
        score=None if score is None else score[1],
        split=split_of(said.query, said.session_id),
        messages=conversation(said),
    )


def conversation(said: _Said) -> list[dict[str, Any]]:
    """Write a trace as chat messages: as it was recorded, else the query, each tool call with what it gave, and the answer.

    Example:
        >>> step = _Step(step_type="tool_call", input={"tool": "add", "arguments": {"a": 1}}, output={"result": 2})
        >>> [message["role"] for message in conversation(_Said(query="1+1?", result="2", steps=[step]))]
        ['user', 'assistant', 'tool', 'assistant']
    """
    if said.messages:
        return said.messages
    calls = [step for step in said.steps if step.step_type == "tool_call" and isinstance(step.input.get("tool"), str)]
    between = [message for number, step in enumerate(calls) for message in _call(number, step)]
    return [{"role": "user", "content": said.query}, *between, {"role": "assistant", "content": said.result}]


def _call(number: int, step: _Step) -> tuple[dict[str, Any], dict[str, Any]]:
    name, arguments, result = step.input["tool"], step.input.get("arguments", {}), step.output.get("result", "")
    call = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": _text(arguments)}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "name": name, "content": _text(result)}


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
