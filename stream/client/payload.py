"""Turns records into the bytes that are published: text hidden as set, cut to the size limit, in JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from stream.client.privacy import QueryText, hide_feedback, hide_trace
from stream.errors import MalformedRecordError
from stream.records import Decision, Feedback, Forget, Trace

CUT_MARK = "eddy_cut"
"""Field of a trace's metadata that lists what was shortened to fit."""
TRACE_ID_CHARACTERS = 256
ELLIPSIS = "…"
UNSPEAKABLE_CHARACTERS = 1_000
"""What is kept of the text of an object that JSON has no form for."""

TraceRecord = Trace | Decision | Forget


class Encoder:
    """Encodes records as the deployment wants them.

    Args:
        query_text: what of the text may leave the process.
        max_bytes: size limit of a record's value.
        classify: names a query's class; asked before the text is hidden, for what comes without a class.
    """

    def __init__(self, *, query_text: QueryText, max_bytes: int, classify: Callable[[str], str]) -> None:
        self._query_text = query_text
        self._max_bytes = max_bytes
        self._classify = classify
        self._json = msgspec.json.Encoder(enc_hook=_unspeakable)

    def trace(self, record: TraceRecord) -> tuple[bytes, bytes]:
        """Encode a trace, a decision or a request to forget.

        Returns:
            key and value.

        Raises:
            MalformedRecordError: it cannot be published (`malformed`, `too_large`).
        """
        if isinstance(record, Trace) and self._query_text != "full":
            record = hide_trace(self._classified(record), self._query_text)
        key, value = _key(record.trace_id), self._encode(record)
        if len(value) > self._max_bytes:
            value = self._cut(record, len(value))
        return key, value

    def feedback(self, record: Feedback) -> tuple[bytes, bytes]:
        """Encode a rating.

        Raises:
            MalformedRecordError: it cannot be published (`malformed`, `too_large`).
        """
        if not 0 <= record.score <= 1:
            raise MalformedRecordError("malformed", f"score {record.score!r} of trace {record.trace_id!r}, but a score is in [0, 1]")
        record = hide_feedback(record, self._query_text)
        value = self._encode(record)
        if len(value) > self._max_bytes:
            value = self._encode(replace(record, comment=None))
        return _key(record.trace_id), value

    def _classified(self, trace: Trace) -> Trace:
        return trace if trace.query_class else replace(trace, query_class=self._classify(trace.query))

    def _encode(self, record: TraceRecord | Feedback) -> bytes:
        try:
            return self._json.encode(record)
        except UnicodeEncodeError:
            return self._json.encode(_speakable(msgspec.to_builtins(record, enc_hook=_unspeakable)))
        except (TypeError, ValueError, RecursionError) as exc:
            raise MalformedRecordError("malformed", f"trace {record.trace_id!r} has no JSON form: {exc}") from exc

    def _cut(self, record: TraceRecord, size: int) -> bytes:
        if isinstance(record, Trace):
            record = self._classified(record)
            for shorten in SHORTENINGS:
                record = shorten(record)
                if len(value := self._encode(record)) <= self._max_bytes:
                    return value
        raise MalformedRecordError("too_large", f"trace {record.trace_id!r} takes {size} bytes, but {self._max_bytes} are allowed (EDDY_MAX_RECORD_BYTES)")


def _without_messages(trace: Trace) -> Trace:
    return _marked(replace(trace, messages=[]), "messages") if trace.messages else trace


def _with_short_steps(trace: Trace) -> Trace:
    return _marked(replace(trace, steps=shortened(trace.steps, 1_000)), "steps")


def _with_short_texts(trace: Trace) -> Trace:
    metadata = shortened(trace.metadata, 1_000)
    return _marked(replace(trace, query=shortened(trace.query, 20_000), result=shortened(trace.result, 20_000), metadata=metadata), "query", "result", "metadata")


def _with_hardly_any_text(trace: Trace) -> Trace:
    steps = shortened(trace.steps, 100)[:100]
    return _marked(replace(trace, steps=steps, query=shortened(trace.query, 2_000), result=shortened(trace.result, 2_000), metadata={}), "steps", "metadata")


SHORTENINGS: tuple[Callable[[Trace], Trace], ...] = (_without_messages, _with_short_steps, _with_short_texts, _with_hardly_any_text)
"""What is done to a trace that is too large, one after the other until it fits; what the steps say besides comes first."""


def shortened(value: Any, characters: int) -> Any:
    """Cut every text inside a value.

    Example:
        >>> shortened({"a": ["12345", 7]}, 3)
        {'a': ['123…', 7]}
    """
    if isinstance(value, str):
        return value if len(value) <= characters else value[:characters] + ELLIPSIS
    if isinstance(value, dict):
        return {name: shortened(part, characters) for name, part in value.items()}
    return [shortened(part, characters) for part in value] if isinstance(value, (list, tuple)) else value


def _marked(trace: Trace, *what: str) -> Trace:
    already = trace.metadata.get(CUT_MARK, [])
    return replace(trace, metadata=trace.metadata | {CUT_MARK: sorted({*already, *what})})


def _key(trace_id: object) -> bytes:
    if not isinstance(trace_id, str) or not 0 < len(trace_id) <= TRACE_ID_CHARACTERS:
        raise MalformedRecordError("malformed", f"trace id {trace_id!r:.300}, but one has 1 to {TRACE_ID_CHARACTERS} characters")
    return trace_id.encode(errors="replace")


def _unspeakable(value: Any) -> str:
    return str(value)[:UNSPEAKABLE_CHARACTERS]


def _speakable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_speakable(name): _speakable(part) for name, part in value.items()}
    return [_speakable(part) for part in value] if isinstance(value, (list, tuple)) else value
