"""What is read off a record: class, partition, outcome, arm, quantities; and why a record is refused."""

from __future__ import annotations

import json
import re
import timeit
from typing import Any

import pytest
from aiokafka.partitioner import murmur2 as aiokafkas_murmur2
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import MalformedRecordError, SettingsError
from stream.reading.arm import FullArm
from stream.reading.many_keys import partitions_of
from stream.reading.outcome import Outcome
from stream.reading.partitioning import murmur2, partition_of
from stream.reading.query_class import classifier, classify_query, folded
from stream.reading.record import REASONS, DecisionReading, FeedbackReading, ForgetReading, TraceReading, read_record

# ---- query class

CODE_LIKE = ["def", "class", "import", "function", "Import ", "classes ", "undef ", "claſs ", "`", "``", "```", "`x`", " ", "\n", "_", "é"]
MATH_LIKE = ["solve", "SOLVED", "integral.", "equation", "compute", "recalculate", "ıntegral", "K"]
ODD_LIKE = ["İ", "ı", "ſ", "i\u0307", "İMPORT ", "functıon\u2003", "ſolve", "\u0307class ", "Ⅳclass ", "def\x1c", "ΑΣ "]
Words = st.sampled_from([*CODE_LIKE, *MATH_LIKE, *ODD_LIKE])


def obvious_class(query: str) -> str:
    """The seed's rules one after the other, each by its own pattern, as its description says them."""
    if "```" in query or re.search("`[^`]+`", query):
        return "code"
    if any(re.search(rf"\b{word}\s", query, re.IGNORECASE) for word in ("def", "class", "import", "function")):
        return "code"
    if any(re.search(rf"\b{word}\b", query, re.IGNORECASE) for word in ("solve", "integral", "equation", "calculate", "compute")):
        return "math"
    return "short" if len(query) < 50 else "long" if len(query) > 500 else "general"


@given(st.lists(Words | st.text(max_size=12), max_size=30).map("".join))
def test_classify_query_answers_as_the_obvious_rules_do(query: str) -> None:
    """The fast classifier skips patterns that cannot match; it must never skip one that does, on letters that fold case oddly either."""
    assert classify_query(query) == obvious_class(query)


def test_folding_changes_no_character_into_one_of_another_kind() -> None:
    """What stands around a word is looked at in the folded text: over all of Unicode one character stays one, in a word, a space, or neither."""
    for number in (*range(0xD800), *range(0xE000, 0x110000)):
        character, fold = chr(number), folded(chr(number))
        assert (len(fold), fold.isalnum(), fold.isspace()) == (1, character.isalnum(), character.isspace()), hex(number)


SENTENCE = "Please write a summary of the following report about the economy of the island nations, with the figures of trade, tourism and fishing; "
PATTERNS = (re.compile(r"```|`[^`]+`|\b(?:def|class|import|function)\s", re.IGNORECASE), re.compile(r"\b(?:solve|integral|equation|calculate|compute)\b", re.IGNORECASE))


@pytest.mark.parametrize("word", ["", "é", "classes", "functions in computers", "ı", "`", "solved"])
def test_classify_query_takes_a_fraction_of_what_its_patterns_take(word: str) -> None:
    """On 260 characters it is to take a tenth (docs/LOG.md has the figures); half of it here, measured in turn, no noise of a busy machine explains."""
    query = f"{SENTENCE}{word} {SENTENCE}"
    fast, slow = [], []

    for _ in range(15):
        fast.append(timeit.timeit(lambda: classify_query(query), number=200))
        slow.append(timeit.timeit(lambda: [pattern.search(query) for pattern in PATTERNS], number=200))

    assert min(fast) < min(slow) / 2


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "short"),
        ("x" * 49, "short"),
        ("x" * 50, "general"),
        ("x" * 500, "general"),
        ("x" * 501, "long"),
        ("import os", "code"),
        ("calculate 2+2", "math"),
        ("Let me know", "short"),
        ("first class flight", "code"),
        ("proof of the theorem", "short"),
    ],
)
def test_classify_query_keeps_the_seeds_answers(query: str, expected: str) -> None:
    """Values observed on the seed's own classifier, its false positives included."""
    assert classify_query(query) == expected


def test_classifier_is_found_by_name_or_refused_with_the_names_there_are() -> None:
    """A deployment that names a classifier which is not installed must hear so at its start."""
    assert classifier("seed") is classify_query
    with pytest.raises(SettingsError, match="'nowhere' is not installed"):
        classifier("nowhere")


# ---- partition


@pytest.mark.parametrize(("key", "expected"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)])
def test_murmur2_agrees_with_javas_clients(key: bytes, expected: int) -> None:
    """Values of Kafka's own UtilsTest, signed as Java has them."""
    assert murmur2(key) == expected & 0xFFFFFFFF


@given(st.binary(max_size=80))
def test_murmur2_agrees_with_aiokafka(key: bytes) -> None:
    """A producer on aiokafka and this fold must mean the same partition."""
    assert murmur2(key) == aiokafkas_murmur2(key) & 0xFFFFFFFF


@given(st.lists(st.binary(min_size=1, max_size=4) | st.binary(min_size=16, max_size=16), max_size=60), st.integers(1, 64))
def test_partitions_of_many_keys_are_those_of_each(keys: list[bytes], partitions: int) -> None:
    """A chunk holds keys of all lengths; each must go where its producer sends it."""
    assert partitions_of(keys, partitions) == [partition_of(key, partitions) for key in keys]


# ---- records


def read(body: Any) -> Any:
    value = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    return read_record(value, max_bytes=2_000, classify=classify_query)


def reason_of(body: Any) -> str:
    with pytest.raises(MalformedRecordError) as refused:
        read(body)
    return refused.value.reason


def trace(**fields: Any) -> dict[str, Any]:
    return {"trace_id": "t", "model": "m", "agent": "a", **fields}


def test_trace_is_read_in_the_units_of_the_fold() -> None:
    """1.5 USD are 1,500,000,000 nano-USD, 0.25 s are 250 ms, a rating of 0.5 is 500,000 millionths; integral floats are whole tokens."""
    reading = read(trace(query_class="c", outcome="success", feedback=0.5, cost_usd=1.5, total_latency_seconds=0.25, total_tokens=7.0, steps="unread", anything=[1]))

    assert reading == TraceReading("t", "c", FullArm("m", "a", "", ""), None, Outcome.SUCCESS, 500_000, 1_500_000_000, 250, 7)


def test_trace_without_quantities_leaves_them_unknown() -> None:
    """Absent and 0 are unknown, which the fold must not count as nothing spent."""
    reading = read(trace(cost_usd=0, total_tokens=0))

    assert (reading.cost_nano_usd, reading.latency_ms, reading.tokens, reading.inline_micro, reading.outcome) == (-1, -1, -1, -1, Outcome.UNKNOWN)


@pytest.mark.parametrize(("feedback", "micro"), [(-1.0, -1), (42, -1), (1.000001, -1), (0, 0), (1, 1_000_000)])
def test_rating_on_another_scale_is_unknown_and_its_trace_counts(feedback: float, micro: int) -> None:
    """A trace is evidence even where its sender rates from -1 or up to 100; what such a rating means cannot be guessed."""
    assert read(trace(feedback=feedback)).inline_micro == micro


@pytest.mark.parametrize(
    ("decision", "drawn"),
    [
        (None, None),
        ({"kind": "drawn", "arm": {"model": "m"}, "propensity": 0.5}, True),
        ({"kind": "drawn", "arm": {"model": "other"}, "propensity": 0.5}, False),
        ({"kind": "drawn", "arm": {"model": "m", "agent": "b"}, "propensity": 0.5}, False),
        ({"kind": "sticky", "arm": {"model": "m"}, "propensity": 0.5}, False),
        ({"kind": "drawn", "arm": {"model": "m"}}, False),
    ],
)
def test_trace_is_drawn_only_if_the_arm_that_served_was(decision: dict[str, Any] | None, drawn: bool | None) -> None:
    """A decision that named another arm, or was no draw with a known propensity, lends none."""
    assert read(trace(decision=decision)).drawn is drawn


def test_query_class_is_the_senders_then_the_decisions_then_the_classifiers() -> None:
    """The draw's class is what its propensity is relative to."""
    decision = {"kind": "sticky", "arm": {}, "query_class": "from decision"}

    assert read(trace(query_class="sent", decision=decision)).query_class == "sent"
    assert read(trace(query="import os", decision=decision)).query_class == "from decision"
    assert read(trace(query="import os")).query_class == "code"


def test_other_types_are_read_whatever_else_their_sender_adds() -> None:
    """A field of the sender's own that a trace would have under another type must not refuse the record."""
    feedback = {"type": "feedback", "trace_id": "t", "rater": "r", "rater_kind": "judge", "score": 1, "given_at": 5, "feedback": "great", "query": 7}

    assert read(feedback) == FeedbackReading("t", "r", "judge", 1_000_000, 5.0)
    assert read({"type": "forget", "trace_id": "t", "model": None}) == ForgetReading("t")
    assert read({"type": "decision", "trace_id": "t", "kind": "drawn", "arm": {"model": "m"}, "propensity": 1}) == DecisionReading("t", "", FullArm("m", "", "", ""), drawn=True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "tombstone"),
        (b"x" * 2_001, "too_large"),
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"trace_id": "\xff"}', "not_json"),
        (b'{"trace_id": "\\ud800"}', "not_json"),
        (b'{"trace_id": "t", "cost_usd": NaN}', "not_json"),
        (b'{"trace_id": "t", "x": ' + b"[" * 1900, "not_json"),
        (b"42", "wrong_type"),
        (b'{"trace_id": "t", "cost_usd": 1e999}', "out_of_range"),
        ({"query": "q"}, "missing_field"),
        ({"type": "feedback", "trace_id": "t"}, "missing_field"),
        (trace(query=5), "wrong_type"),
        (trace(total_tokens=1.5), "wrong_type"),
        (trace(type=5), "wrong_type"),
        (trace(schema=2), "unknown_schema"),
        (trace(schema=0), "unknown_schema"),
        (trace(type="llm"), "unknown_type"),
        (trace(trace_id=""), "bad_trace_id"),
        (trace(trace_id="x" * 257), "bad_trace_id"),
        (trace(model="x" * 257), "bad_name"),
        (trace(query_class="a\nb"), "bad_name"),
        (trace(query_class="*"), "bad_name"),
        (trace(query_class="~overflow"), "bad_name"),
        (trace(decision={"kind": "sticky", "arm": {}, "query_class": "*"}), "bad_name"),
        (trace(model="~overflow"), "bad_name"),
        (trace(model="~overflow", agent="react"), "bad_name"),
        ({"type": "decision", "trace_id": "t", "kind": "drawn", "arm": {"model": "~overflow"}, "propensity": 1}, "bad_name"),
        (trace(agent="../etc"), "bad_agent"),
        (trace(agent="a\\b"), "bad_agent"),
        (trace(agent=".hidden"), "bad_agent"),
        (trace(cost_usd=-1), "out_of_range"),
        (trace(total_tokens=10**30), "out_of_range"),
        (trace(total_tokens=10**400), "out_of_range"),
        (trace(total_tokens=-(10**400)), "out_of_range"),
        (trace(total_latency_seconds=1e9), "out_of_range"),
        (trace(decision={"kind": "drawn", "arm": {}, "propensity": 0}), "out_of_range"),
        ({"type": "feedback", "trace_id": "t", "rater": "r", "rater_kind": "judge", "score": 42, "given_at": 5}, "out_of_range"),
        ({"type": "feedback", "trace_id": "t", "rater": "r", "rater_kind": "oracle", "score": 1, "given_at": 5}, "wrong_type"),
    ],
)
def test_bad_record_is_refused_with_its_reason(body: Any, reason: str) -> None:
    """P4: the reason is a label of a metric, so it comes from a closed set."""
    assert reason_of(body) == reason
    assert reason in REASONS


ODD = ["9" * 400, "-" + "9" * 400, "9" * 1_900, "1e308", "-1e308", "1e-400", "1e400", "-0.0", "18446744073709551616", "0.5", "null", "true", "[]", "{}"]
ODD += ['""', '"\\ud800"', '"\\u0000"', '"*"', '{"arm": {"model": "\\udc00"}}', '{"kind": "drawn", "arm": {}, "propensity": ' + "9" * 400 + "}"]
WHOLE = {
    "trace": {"trace_id": "t"},
    "feedback": {"trace_id": "t", "rater": "r", "rater_kind": "human", "score": 1, "given_at": 5},
    "decision": {"trace_id": "t", "kind": "drawn", "arm": {"model": "m"}, "propensity": 0.5},
    "forget": {"trace_id": "t"},
}
FIELDS = """trace_id schema query agent model outcome feedback total_tokens total_latency_seconds cost_usd decision query_class
    rater rater_kind score given_at arm propensity kind config_version adapter""".split()


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("field", FIELDS)
def test_senders_fault_is_never_called_ours(field: str, kind: str) -> None:
    """`internal_error` sends an operator to look for a fault of Eddy's; no value of any field, however odd, may end as one."""
    bodies = {odd: json.dumps({"type": kind, **WHOLE[kind], field: "HERE"}).replace('"HERE"', odd).encode() for odd in ODD}

    assert [odd for odd, body in bodies.items() if reason_or_kind(body) == "internal_error"] == []


@pytest.mark.parametrize("answer", [None, 5, "", "*", "~overflow", "x" * 300, "a\x00b", "\ud800"])
def test_classifier_that_answers_nonsense_refuses_the_record(answer: Any) -> None:
    """A user's classifier is not trusted: what it says stands in keys of topics."""
    with pytest.raises(MalformedRecordError) as refused:
        read_record(b'{"trace_id": "t"}', max_bytes=100, classify=lambda query: answer)

    assert refused.value.reason in ("internal_error", "bad_name")


class UnspeakableError(Exception):
    """An error whose own text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [ZeroDivisionError(), UnspeakableError(), RecursionError(), MalformedRecordError("a reason of its own", "")])
def test_classifier_that_raises_refuses_the_record(error: Exception) -> None:
    """P4: a record on which the fold itself raises goes to the dead letters under a reason of the closed set, and stops no partition."""

    def classify(query: str) -> str:
        raise error

    with pytest.raises(MalformedRecordError, match=f"internal_error: the classifier raised {type(error).__name__}"):
        read_record(b'{"trace_id": "t"}', max_bytes=100, classify=classify)


def within(frames: int, value: bytes) -> str:
    """Read a record with so many frames of Python's stack in use."""
    return within(frames - 1, value) if frames else reason_or_kind(value)


def reason_or_kind(value: bytes) -> str:
    try:
        return type(read_record(value, max_bytes=100_000, classify=classify_query)).__name__
    except MalformedRecordError as exc:
        return exc.reason


@pytest.mark.parametrize(("depth", "expected"), [(499, "TraceReading"), (500, "not_json"), (900, "not_json"), (950, "not_json")])
def test_depth_of_a_record_is_judged_the_same_by_every_process(depth: int, expected: str) -> None:
    """Python's limit of recursion leaves room for 950 brackets under a short stack and not under a long one: two workers would differ on one record."""
    value = b'{"trace_id": "t", "metadata": ' + b"[" * depth + b"]" * depth + b"}"

    assert [within(frames, value) for frames in (0, 60)] == [expected, expected]


@pytest.mark.parametrize("query", ["[" * 1500, '[\\"{' * 700])
def test_brackets_in_text_are_no_depth(query: str) -> None:
    """A query may be of anything."""
    assert reason_or_kind(json.dumps({"trace_id": "t", "query": query}).encode()) == "TraceReading"
