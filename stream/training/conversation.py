"""What is trained on: conversations, read off pairs and traces, which are anybody's words."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from stream.errors import TrainingDataError

ROLES = ("system", "developer", "user", "assistant", "tool")
_KEPT = ("name", "tool_call_id", "reasoning_content")
"""What a message may hold beside role, content and tool calls, as text."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation that ends with an answer.

    Attributes:
        messages: as a chat template takes them: `role`, `content`, and for some `tool_calls`, `tool_call_id`, `name`, `reasoning_content`.
        tools: the schemas that the model was given, or none.
        weight: of its tokens in the loss, above 0.
        trace_id: the trace it was mined from; empty: not known.
        untrained: places in `messages` of answers that stand there but are not trained on.
    """

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    weight: float = 1.0
    trace_id: str = ""
    untrained: frozenset[int] = frozenset()

    @property
    def digest(self) -> str:
        """SHA-256 of all that training sees of it."""
        seen = [self.messages, self.tools, self.weight, sorted(self.untrained)]
        return hashlib.sha256(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @property
    def query(self) -> str:
        """The first thing that a user says."""
        return next((message["content"] for message in self.messages if message["role"] == "user"), "")

    @property
    def query_id(self) -> str:
        """16 hex digits that are the same for the same words, however they are spaced or written."""
        words = " ".join(self.query.split()).casefold()
        return hashlib.sha256(f"eddy query {words}".encode()).hexdigest()[:16]


def read_pair(pair: Mapping[str, Any], *, weight_by_feedback: bool = False) -> Conversation:
    """Read a pair as the miner gives it, or a conversation.

    Args:
        pair: `input` and `output`, both text; or `messages`, and `tools` if there were any. Besides, if known, `trace_id`, `feedback` in [0, 1], `system`.
            A message of the assistant with `weight` 0 is not trained on.
        weight_by_feedback: take `feedback` as the weight; a pair without one weighs 1.

    Raises:
        TrainingDataError: it is no conversation, or nothing in it can be trained on.

    Example:
        >>> read_pair({"input": "2+2?", "output": "4"}).messages
        ({'role': 'user', 'content': '2+2?'}, {'role': 'assistant', 'content': '4'})
    """
    given = pair.get("messages") or _from_texts(pair)
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TrainingDataError("malformed", f"`messages` is {type(given).__name__}, but it is a list of messages; correct the pair")
    messages = tuple(_message(place, message) for place, message in enumerate(given))
    last = max((place for place, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    untrained = frozenset(place for place, message in enumerate(given[: last + 1]) if messages[place]["role"] == "assistant" and message.get("weight") == 0)
    if not any(_says_something(message) for place, message in enumerate(messages) if message["role"] == "assistant" and place not in untrained):
        raise TrainingDataError("no_answer", "no turn of the assistant has text or a tool call, but those are what is trained on; leave the pair out")
    weight = _weight(pair.get("feedback")) if weight_by_feedback else 1.0
    return Conversation(messages[: last + 1], _tools(pair.get("tools")), weight, str(pair.get("trace_id") or ""), untrained)


def _from_texts(pair: Mapping[str, Any]) -> list[dict[str, Any]]:
    question, answer = pair.get("input"), pair.get("output")
    if not isinstance(question, str) or not isinstance(answer, str):
        raise TrainingDataError("malformed", f"a pair has {sorted(map(str, pair))}, but `input` and `output` as text or `messages` are needed; correct it")
    system = [{"role": "system", "content": pair["system"]}] if pair.get("system") else []
    return [*system, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _says_something(message: Mapping[str, Any]) -> bool:
    return bool(message["content"].strip() or message.get("tool_calls"))


def _message(place: int, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping) or given.get("role") not in ROLES:
        raise TrainingDataError("malformed", f"message {place} is {str(given)[:80]!r}, but it has a role of {', '.join(ROLES)}; correct the pair")
    message: dict[str, Any] = {"role": given["role"], "content": _text(place, given.get("content"))}
    if calls := given.get("tool_calls"):
        message["tool_calls"] = [_tool_call(place, call) for call in calls] if isinstance(calls, list) else _refuse_call(place, calls)
    return message | {name: value for name in _KEPT if isinstance(value := given.get(name), str) and value}


def _text(place: int, content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return _encodable(place, content)
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content):
        return _encodable(place, "".join(part["text"] for part in content))
    raise TrainingDataError("not_text", f"message {place} holds {str(content)[:80]!r}, but only text is trained on; leave the pair out")


def _encodable(place: int, text: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise TrainingDataError("malformed", f"message {place} holds half of a surrogate pair, but a tokenizer takes UTF-8; correct the pair")
    return text


def _tool_call(place: int, call: Any) -> dict[str, Any]:
    """Bring a call into the one form that templates take: arguments as an object, however they were sent."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str) or not name:
        _refuse_call(place, call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            _refuse_call(place, call)
    if not isinstance(arguments, Mapping):
        _refuse_call(place, call)
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": {"name": _encodable(place, name), "arguments": dict(arguments)}}


def _refuse_call(place: int, call: Any) -> NoReturn:
    raise TrainingDataError("malformed", f"message {place} calls {str(call)[:80]!r}, but a tool call has a name and arguments that are a JSON object; correct the pair")


def _tools(given: Any) -> tuple[dict[str, Any], ...]:
    if given is None:
        return ()
    if not isinstance(given, Sequence) or not all(isinstance(tool, Mapping) for tool in given):
        raise TrainingDataError("malformed", f"`tools` is {str(given)[:80]!r}, but it is a list of schemas; correct the pair")
    return tuple(dict(tool) for tool in given)


def _weight(feedback: Any) -> float:
    if feedback is None:
        return 1.0
    if not isinstance(feedback, int | float) or not math.isfinite(feedback) or feedback <= 0:
        raise TrainingDataError("no_weight", f"`feedback` is {feedback!r}, but as a weight it is above 0; leave the pair out")
    return min(float(feedback), 1.0)
