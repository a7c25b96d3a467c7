"""What a published record says: its text hidden as set, cut to the limit, and never a reason to fail."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.client.payload import Encoder
from stream.client.privacy import QueryText, hash_query, hide_json
from stream.errors import MalformedRecordError
from stream.records import Arm, Decision, Feedback, Forget, Trace

SECRET = "SECRET"
TRACE = Trace(
    trace_id="t1",
    query=f"{SECRET}: why does `import os` fail?",
    result=f"because {SECRET}",
    steps=[
        {
            "step_type": "tool_call",
            "timestamp": 1.0,
            "duration_seconds": 0.5,
            "input": {"tool": "bash", "arguments": {"command": SECRET}},
            "output": {"success": True, "result": SECRET, "lines": [SECRET]},
            "metadata": {"reward": 0.67, "note": SECRET},
        }
    ],
    messages=[{"role": "user", "content": SECRET}],
    metadata={"app": SECRET, "attempt": 2, "error_type": "ValueError"},
    model="gpt-4",
    session_id="s",
    tenant="acme",
    total_tokens=7,
)


def classify(query: str) -> str:
    return "code" if "import " in query else "short"


def encoder(query_text: QueryText = "full", max_bytes: int = 1_000_000) -> Encoder:
    return Encoder(query_text=query_text, max_bytes=max_bytes, classify=classify)


def published(record: Trace | Decision, **options: Any) -> dict[str, Any]:
    return msgspec.json.decode(encoder(**options).trace(record)[1])


def test_full_text_is_published_as_it_is() -> None:
    """By default the log holds what the agent saw: cycles mine it."""
    key, value = encoder().trace(TRACE)

    assert key == b"t1"
    assert msgspec.json.decode(value, type=Trace) == TRACE


@pytest.mark.parametrize("query_text", ["hashed", "none"])
def test_hidden_text_leaves_nothing_of_query_answer_or_steps(query_text: QueryText) -> None:
    """What the setting promises: no text, but everything that learning needs, with the class read off the text before it goes."""
    said = published(TRACE, query_text=query_text)

    assert SECRET not in msgspec.json.encode(said).decode()
    assert (said["query_class"], said["model"], said["session_id"], said["tenant"], said["total_tokens"]) == ("code", "gpt-4", "s", "acme", 7)
    assert said["steps"] == [
        {
            "step_type": "tool_call",
            "timestamp": 1.0,
            "duration_seconds": 0.5,
            "input": {"tool": "bash", "arguments": {}},
            "output": {"success": True},
            "metadata": {"reward": 0.67},
        }
    ]
    assert said["metadata"] == {"attempt": 2, "error_type": "ValueError", "eddy_query_text": query_text}
    assert said["query"] == (hash_query(TRACE.query) if query_text == "hashed" else "")


def test_hidden_text_spares_the_class_that_the_sender_gave() -> None:
    """The sender's word stands over the classifier's, hidden text or not."""
    assert published(msgspec.structs.replace(TRACE, query_class="mine"), query_text="none")["query_class"] == "mine"


def test_query_hash_is_the_sha256_of_the_normalised_text() -> None:
    """Of "sort a list", by `printf 'sort a list' | sha256sum`; shortened to 128 bits."""
    assert hash_query("  Sort a\n LIST ") == "sha256:" + "8ccc54cc89989e61cedcb6a6f89f656b"


@pytest.mark.parametrize("query_text", ["hashed", "none"])
def test_hidden_text_takes_the_comment_of_a_rating(query_text: QueryText) -> None:
    """A comment may quote the answer."""
    feedback = Feedback(trace_id="t1", rater="ana", rater_kind="human", score=0.5, given_at=1.0, comment=SECRET)

    assert SECRET.encode() in encoder().feedback(feedback)[1]
    assert SECRET.encode() not in encoder(query_text).feedback(feedback)[1]


@pytest.mark.parametrize("query_text", ["hashed", "none"])
def test_line_of_a_file_is_hidden_as_the_client_hides_a_trace(query_text: QueryText) -> None:
    """A file that is published beside the client must not bring the text that the client keeps back; what nobody knows is text too."""
    line = msgspec.json.encode(msgspec.to_builtins(TRACE) | {"notes": SECRET, "retries": 2})

    hidden = hide_json(line, query_text, classify=classify)

    assert SECRET.encode() not in hidden
    assert msgspec.json.decode(hidden, type=Trace) == msgspec.convert(published(TRACE, query_text=query_text), Trace)
    assert msgspec.json.decode(hidden)["retries"] == 2
    assert hide_json(line, "full", classify=classify) is line


def test_other_lines_of_a_file_lose_their_comments_only() -> None:
    """A rating's comment may quote the answer; a decision and a request to forget have no text."""
    rating = Feedback(trace_id="t1", rater="ana", rater_kind="human", score=0.5, given_at=1.0, comment=SECRET)
    forget = msgspec.json.encode(Forget(trace_id="t1"))

    hidden = hide_json(msgspec.json.encode(rating), "none", classify=classify)

    assert msgspec.json.decode(hidden) == {"schema": 1, "type": "feedback", "trace_id": "t1", "rater": "ana", "rater_kind": "human", "score": 0.5, "given_at": 1.0}
    assert hide_json(forget, "none", classify=classify) == forget


def test_large_trace_is_cut_until_it_fits_and_says_what_was_cut() -> None:
    """Messages go first, as they repeat the rest; then the steps' texts; query and answer last."""
    steps = [{"step_type": "tool_call", "input": {"tool": "bash"}, "output": {"result": "y" * 3_000}}] * 10
    trace = Trace(trace_id="t", query="why", result="because", messages=[{"content": "x" * 50_000}], steps=steps)

    only_messages = published(trace, max_bytes=40_000)
    steps_too = published(trace, max_bytes=20_000)

    assert (only_messages["messages"], only_messages["steps"], only_messages["metadata"]) == ([], steps, {"eddy_cut": ["messages"]})
    assert steps_too["steps"][0] == {"step_type": "tool_call", "input": {"tool": "bash"}, "output": {"result": "y" * 1_000 + "…"}}
    assert (steps_too["query"], steps_too["result"], steps_too["metadata"]) == ("why", "because", {"eddy_cut": ["messages", "steps"]})


def test_cut_query_keeps_the_class_of_the_whole() -> None:
    """A class read off a cut text may be another one."""
    assert published(Trace(trace_id="t", query="x" * 50_000 + " import os"), max_bytes=30_000)["query_class"] == "code"


def test_trace_that_no_cut_makes_fit_is_refused_as_too_large() -> None:
    """What is not text cannot be cut with sense; it is counted and not sent to be a dead letter."""
    with pytest.raises(MalformedRecordError) as caught:
        encoder(max_bytes=10_000).trace(Trace(trace_id="t", agent="a" * 20_000))

    assert caught.value.reason == "too_large"


@given(st.integers(0, 60), st.integers(0, 30_000), st.integers(0, 30_000), st.integers(25_000, 90_000))
def test_cut_trace_never_exceeds_the_limit(steps: int, step_size: int, text_size: int, max_bytes: int) -> None:
    """The last cut leaves less than 25,000 bytes: 4,001 characters of query and answer, 60 steps of 101; ä is two bytes."""
    trace = Trace(trace_id="t", query="ä" * text_size, result="ä" * text_size, steps=[{"output": "ä" * step_size}] * steps)

    _, value = encoder(max_bytes=max_bytes).trace(trace)

    assert len(value) <= max_bytes


class Unspeakable:
    def __str__(self) -> str:
        return "an object"


def test_what_json_has_no_form_for_is_written_as_its_text() -> None:
    """One odd object in the metadata must not cost the trace; half a surrogate pair, which models do produce, neither."""
    metadata = {"o": Unspeakable(), "when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "half": "\ud83d"}

    said = published(Trace(trace_id="t", result="a \ud83d", metadata=metadata))

    assert said["result"] == "a ?"
    assert said["metadata"] == {"o": "an object", "when": "2026-01-01T00:00:00Z", "half": "?"}


@pytest.mark.parametrize("trace_id", ["", "x" * 257, None, 7])
def test_trace_without_a_usable_id_is_refused(trace_id: Any) -> None:
    """It has no key and no partition; counted here, it is seen earlier than as a dead letter."""
    with pytest.raises(MalformedRecordError) as caught:
        encoder().trace(Trace(trace_id=trace_id))

    assert caught.value.reason == "malformed"


@pytest.mark.parametrize("score", [42, -0.1, float("nan")])
def test_score_outside_its_range_is_refused(score: float) -> None:
    """The rater is still there to be told; in the log it would be a dead letter."""
    with pytest.raises(MalformedRecordError):
        encoder().feedback(Feedback(trace_id="t", rater="r", rater_kind="human", score=score, given_at=1.0))


def test_decision_is_published_as_it_is() -> None:
    """It holds no text."""
    decision = Decision(trace_id="t", kind="fallback", query_class="code", arm=Arm(model="m"))

    assert msgspec.convert(published(decision, query_text="none"), Decision) == decision
