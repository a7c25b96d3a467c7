"""What of a record may leave the process: all of its text, a hash of the query, or none.

It does not look into text for secrets; what is not to be on the log at all is the caller's to leave out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from stream.errors import MalformedRecordError
from stream.records import Decision, Feedback, Forget, Trace

QueryText = Literal["full", "hashed", "none"]

KEPT_NAMES = frozenset({"step_type", "tool", "name", "model", "agent", "engine", "error_type"})
"""Fields of steps and metadata whose text stays: they name things, and learning from tool use stands on them."""
MARK = "eddy_query_text"
"""Field of a trace's metadata that says what was done to its text."""


def hide_trace(trace: Trace, query_text: QueryText) -> Trace:
    """Take the text out of a trace.

    The query becomes its hash or nothing; result and messages go; of steps and metadata numbers, booleans and the names in
    `KEPT_NAMES` stay. Identifiers (trace, session, tenant), the query class and all measurements stay.
    """
    if query_text == "full":
        return trace
    return replace(
        trace,
        query=hash_query(trace.query) if query_text == "hashed" else "",
        result="",
        messages=[],
        steps=[bare(msgspec.to_builtins(step, enc_hook=str)) for step in trace.steps],
        metadata=bare(trace.metadata) | {MARK: query_text},
    )


def hide_feedback(feedback: Feedback, query_text: QueryText) -> Feedback:
    """Take the comment out of a rating: it may quote the answer."""
    return feedback if query_text == "full" else replace(feedback, comment=None)


def hash_query(query: str) -> str:
    """Name a query without saying it: equal for texts that differ only in case and white space.

    Whoever guesses the text can check the guess; what must not be guessed needs `none`.

    Example:
        >>> hash_query("Sort  a list") == hash_query("sort a list ")
        True
        >>> hash_query("")
        ''
    """
    normalised = " ".join(query.casefold().split())
    return "sha256:" + hashlib.sha256(normalised.encode(errors="replace")).hexdigest()[:32] if normalised else ""


def bare(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a mapping what says nothing of the text: numbers, booleans, names; nested mappings likewise.

    Example:
        >>> bare({"step_type": "tool_call", "input": {"tool": "bash", "arguments": "ls"}, "duration_seconds": 0.5})
        {'step_type': 'tool_call', 'input': {'tool': 'bash'}, 'duration_seconds': 0.5}
    """
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, (bool, int, float)) or (name in KEPT_NAMES and isinstance(value, str)):
            kept[name] = value
        elif isinstance(value, Mapping):
            kept[name] = bare(value)
    return kept


def hide_json(value: bytes, query_text: QueryText, *, classify: Callable[[str], str]) -> bytes:
    """Take the text out of a record that stands in JSON, as anybody may have written it.

    What the record's kind does not know is treated like metadata. A record that is not hidden stays as it is, byte for byte.

    Args:
        value: the record, readable for the worker.
        query_text: what of the text may leave the process.
        classify: names a query's class, where a trace comes without one.

    Raises:
        MalformedRecordError: a part that the worker leaves unread is no JSON.
    """
    if query_text == "full":
        return value
    try:
        fields: dict[str, Any] = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise MalformedRecordError("not_json", str(exc)) from exc
    kind = _KINDS.get(fields.get("type", "trace"), Trace)
    known = {name: field for name, field in fields.items() if name in kind.__struct_fields__ or name == "type"}
    hidden = bare({name: field for name, field in fields.items() if name not in known}) | known
    hidden.pop("comment", None)
    return msgspec.json.encode(hidden | _hidden_texts(fields, query_text, classify) if kind is Trace else hidden)


def _hidden_texts(fields: Mapping[str, Any], query_text: QueryText, classify: Callable[[str], str]) -> dict[str, Any]:
    query, steps, metadata = str(fields.get("query") or ""), fields.get("steps"), fields.get("metadata")
    return {
        "query": hash_query(query) if query_text == "hashed" else "",
        "query_class": fields.get("query_class") or classify(query),
        "result": "",
        "messages": [],
        "steps": [bare(step) for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else [],
        "metadata": (bare(metadata) if isinstance(metadata, Mapping) else {}) | {MARK: query_text},
    }


_KINDS: dict[Any, type[Feedback | Decision | Forget]] = {"feedback": Feedback, "decision": Decision, "forget": Forget}
