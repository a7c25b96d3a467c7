"""The fold equals the oracle however its log is cut, replayed, doubled or reordered, and nothing in a record makes it raise."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.errors import MalformedRecordError
from stream.fold.arrivals import add_arrivals
from stream.fold.checkpoint import Changelog, recover, write_checkpoint
from stream.fold.fold import fold
from stream.fold.index import JoinIndex
from stream.fold.ratings import Word, pack_ratings, unpack_ratings
from stream.fold.state import Counters, PartitionState
from stream.fold.totals import Sum, identity, merge
from stream.reading.chunk import PlainTrace, hash_key, read_chunk
from stream.reading.names import Listed, NameReader
from stream.reading.query_class import classify_query
from stream.reading.record import REASONS, DecisionReading, FeedbackReading, ForgetReading, TraceReading, read_record
from tests.logs import START_MS, LogRecord, RandomLog, random_log, small_spec
from tests.oracle import oracle_canonical

MUTATIONS, RECORDS_AN_EXAMPLE = 100_000, 200
SENDERS_FAULTS = {*REASONS, None} - {"internal_error"}
"""What becomes of a record under a classifier that works: `internal_error` would be a fault of ours."""


def folded(chunks: list[list[LogRecord]], spec: Any = None) -> PartitionState:
    """Fold chunks one after the other; what the log has no record for is skipped."""
    state = PartitionState(0, spec or small_spec())
    for chunk in chunks:
        unread = [record for record in chunk if record.offset >= state.position]
        if unread:
            state.skip_hole(unread[0].offset)
        fold(state, chunk, classify_query)
    return state


@pytest.mark.parametrize("step_s", [1, 30, 600, 40_000])
@pytest.mark.parametrize("seed", range(4))
def test_fold_equals_the_oracle_however_the_log_is_cut_and_replayed(seed: int, step_s: float) -> None:
    """Any split into chunks, each beginning with records that were folded before, ends in the state that the oracle has."""
    rnd, log = random.Random(seed), random_log(seed, 400, step_s=step_s)
    cuts = sorted(rnd.sample(range(1, len(log)), 40))

    state = folded([log[max(0, start - rnd.randrange(30)) : end] for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True)])

    assert state.canonical() == oracle_canonical(log, small_spec(), 0)


TENANTS = ("", "acme", "acme|code", "a\\", "*", "~overflow", 7, "x" * 257, "bell\x07")
"""Names of tenants; the last three can be no name."""


def of_tenants(log: list[LogRecord], seed: int) -> list[LogRecord]:
    """Give the traces and decisions of a log tenants, and some decisions in traces others."""
    rnd, given = random.Random(seed), []
    for record in log:
        try:
            body = json.loads(record.value or b"")
            assert body.get("type", "trace") in ("trace", "decision")
            body["tenant"] = rnd.choices(TENANTS, [10, 10, 10, 10, 5, 5, 1, 1, 1])[0]
            if rnd.random() < 0.5 and isinstance(body.get("decision"), dict):
                body["decision"]["tenant"] = rnd.choice(TENANTS[:6])
        except (ValueError, AssertionError, AttributeError):
            given.append(record)
        else:
            given.append(LogRecord(record.offset, record.timestamp, record.key, json.dumps(body).encode()))
    return given


@pytest.mark.parametrize("max_classes", [3, 100])
@pytest.mark.parametrize("seed", range(6))
def test_fold_that_keeps_tenants_apart_equals_the_oracle(seed: int, max_classes: int) -> None:
    """A tenant called like a class, like the pool or like the overflow is folded under a name of its own, and one that can be no name is refused."""
    log, spec = of_tenants(random_log(seed, 400), seed), small_spec(tenants="apart", max_classes=max_classes)

    state = folded([log[start : start + 37] for start in range(0, len(log), 37)], spec)

    assert state.canonical() == oracle_canonical(log, spec, 0)


@pytest.mark.parametrize("seed", range(10))
def test_names_and_chunks_of_tenants_are_read_as_records_are(seed: int) -> None:
    """The archive lists a tenant's class as the fold counts it, and a chunk is read as its records."""
    log = of_tenants(random_log(seed, 300), seed)
    reader, chunk = NameReader(max_bytes=10_000, classify=classify_query, apart=True), read_chunk(log, max_bytes=10_000, classify=classify_query, apart=True)
    kinds = Counter[bool]()
    for record, plain in zip(log, chunk, strict=True):
        try:
            read: Any = read_record(record.value, max_bytes=10_000, classify=classify_query, apart=True)
        except MalformedRecordError as exc:
            assert plain is None or exc.reason in {"bad_name", "bad_agent"}
            with pytest.raises(MalformedRecordError) as refused:
                reader.read(record.value)
            assert refused.value.reason == exc.reason
            continue
        if isinstance(read, TraceReading):
            assert reader.read(record.value) == (read.trace_id, Listed(read.query_class, read.arm.agent))
            assert plain is None or PlainTrace(*plain) == as_plain(read)
            kinds["|" in read.query_class] += 1
        elif plain is not None:
            assert plain == read
    assert kinds[True] > 50
    assert kinds[False] == 0


@pytest.mark.parametrize("without", [(), ("cost",), ("cost", "latency")])
def test_fold_with_a_reward_equals_the_oracle(without: tuple[str, ...]) -> None:
    """The reward is one more sum beside the scores: exact over duplicates, early and late ratings, caps, ages and silence, as all others are."""
    spec, log = small_spec(reward="seed", reward_without=without, silence="failure", silence_s=300), random_log(11, 600, decisions=30)

    state = folded([log[:300], log[280:]], spec)

    assert state.canonical() == oracle_canonical(log, spec, 0)
    assert any(sums[Sum.REWARD] for arms in state.canonical()["totals"].values() for buckets in arms.values() for sums in buckets.values())


@pytest.mark.parametrize("silence", ["unknown", "failure"])
@pytest.mark.parametrize(("step_s", "silence_s"), [(1, 20), (30, 300), (30, 3_000), (600, 1), (600, 400_000), (40_000, 600)])
@pytest.mark.parametrize("seed", range(3))
def test_fold_of_decisions_equals_the_oracle_however_the_log_is_cut(seed: int, step_s: float, silence_s: int, silence: Any) -> None:
    """Deadlines fall due by the log's time alone: within a chunk or between two, before and after retention and horizon, the state is the oracle's."""
    rnd, log = random.Random(seed), random_log(seed, 400, step_s=step_s, decisions=60)
    spec = small_spec(silence=silence, silence_s=silence_s, horizon=[15, 40, 200][seed])
    cuts = sorted(rnd.sample(range(1, len(log)), 40))

    state = folded([log[max(0, start - rnd.randrange(30)) : end] for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True)], spec)

    assert state.canonical() == oracle_canonical(log, spec, 0)


def test_logs_of_decisions_reach_every_end_that_a_decision_has() -> None:
    """Or the comparison above would compare nothing: silent ones, their late traces, some still pending, and some that left unmatched."""
    state = folded([random_log(1, 400, step_s=30, decisions=60)], small_spec(silence="failure", silence_s=300))

    assert min(state.counters.silent_decisions, state.counters.late_traces, len(state.index.pending), state.counters.unmatched_decisions) > 0


@pytest.mark.parametrize("seed", range(6))
def test_fold_recovered_at_any_offset_goes_on_with_its_deadlines(seed: int) -> None:
    """What waits for its deadline is read off the recovered index and the log's time: nothing else has to be kept."""
    log, spec = random_log(seed, 120, step_s=30, decisions=60), small_spec(silence="failure", silence_s=300)
    expected = oracle_canonical(log, spec, 0)

    for cut in range(1, len(log), 7):
        before = folded([log[:cut]], spec)
        found, _ = recover(dict(write_checkpoint(before, Changelog(horizon=40), checkpoint_id=bytes(16), full=True).parts), number=0, spec=spec)
        unread = log[cut:]
        found.skip_hole(unread[0].offset)
        fold(found, unread, classify_query)
        assert found.canonical() == expected


def test_canonical_form_survives_json() -> None:
    """A worker hands its state out as JSON, and a harness compares it with the oracle's."""
    canonical = folded([random_log(5, 300)]).canonical()

    assert json.loads(json.dumps(canonical)) == canonical


Feedbacks = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.sampled_from(["human", "judge", "program"]), st.sampled_from([0.0, 0.3, 1.0]), st.integers(-5, 5)), max_size=25
)


@settings(max_examples=150)
@given(feedbacks=Feedbacks, shuffled=st.randoms(use_true_random=False), before=st.integers(0, 25))
def test_feedback_ends_the_same_in_any_order(feedbacks: list[Any], shuffled: random.Random, before: int) -> None:
    """P3: early, late, doubled or revised, only each rater's last word counts, by when it was given."""
    traces = [{"trace_id": f"t{number}", "model": "m", "outcome": "success", "feedback": 0.5} for number in range(4)]
    said = [feedback_of(*feedback) for feedback in feedbacks]
    last = [max((other for other in said if key(other) == key(one)), key=precedence) for one in said]
    reordered = said + said[: len(said) // 2]
    shuffled.shuffle(reordered)

    in_any_order = folded([log_of([*reordered[:before], *traces, *reordered[before:]])])
    only_last_words = folded([log_of([*traces, *last])])

    assert in_any_order.canonical()["totals"] == only_last_words.canonical()["totals"]
    assert ratings_by_trace(in_any_order) == ratings_by_trace(only_last_words)


def feedback_of(trace: int, rater: str, kind: str, score: float, given_at: int) -> dict[str, Any]:
    return {"type": "feedback", "trace_id": f"t{trace}", "rater": rater, "rater_kind": kind, "score": score, "given_at": START_MS / 1000 + given_at}


def key(feedback: dict[str, Any]) -> tuple[str, str]:
    return feedback["trace_id"], feedback["rater"]


def precedence(feedback: dict[str, Any]) -> tuple[float, float, int]:
    return feedback["given_at"], feedback["score"], ["human", "judge", "program"].index(feedback["rater_kind"])


def log_of(bodies: list[dict[str, Any]]) -> list[LogRecord]:
    return [LogRecord(offset, START_MS, body["trace_id"].encode(), json.dumps(body).encode()) for offset, body in enumerate(bodies)]


def ratings_by_trace(state: PartitionState) -> dict[str, Any]:
    return {key: ratings for _, key, _, ratings, _ in state.canonical()["index"]}


@pytest.mark.parametrize("seed", range(40))
def test_copies_of_a_record_count_once(seed: int) -> None:
    """P2: accepted records appended again at the end, in any order, change nothing but what counts them."""
    rnd, log, spec = random.Random(seed), random_log(seed, 120), small_spec(horizon=10_000)
    refused = {record.offset for record in fold(PartitionState(0, spec), dense(log), classify_query)}
    accepted = [record for record in dense(log) if record.offset not in refused]
    again = rnd.sample(accepted, len(accepted) // 2)

    once = folded([dense(log)], spec).canonical()
    twice = folded([dense(log + [LogRecord(0, START_MS, record.key, record.value) for record in again])], spec).canonical()

    assert twice["totals"] == once["totals"]
    assert twice["index"] == once["index"]


def dense(log: list[LogRecord]) -> list[LogRecord]:
    """Number records one after the other."""
    return [LogRecord(offset, record.timestamp, record.key, record.value) for offset, record in enumerate(log)]


# ---- whatever a record holds


class Change(NamedTuple):
    """One damage to a record's bytes, as hypothesis draws it.

    Attributes:
        kind: what is done; `revalue` gives a field another value, so that the record stays JSON.
        at: where; counted on from its end where it is beyond the record's.
        piece: bytes that are put in.
        value: JSON that a field is given.
        length: how many bytes are concerned.
    """

    kind: Literal["revalue", "replace", "insert", "remove", "double", "cut"]
    at: int
    piece: bytes
    value: bytes
    length: int

    def applied(self, body: bytes, shift: int) -> bytes:
        """Damage a record; with another `shift`, elsewhere."""
        if self.kind == "revalue" and (values := list(VALUE.finditer(body))):
            start, end = values[(self.at + shift) % len(values)].span(1)
            return body[:start] + self.value + body[end:]
        at = (self.at + shift) % (len(body) + 1)
        before, after = body[:at], body[at:]
        if self.kind == "replace":
            return before + self.piece + after[len(self.piece) :]
        if self.kind == "insert":
            return before + self.piece + after
        if self.kind == "remove":
            return before + after[self.length :]
        return before + before[-self.length :] + after if self.kind == "double" else before


VALUE = re.compile(rb': ("[^"]*"|[-\w.]+)')
ODD_BYTES = [b"\\ud800", b"\xff", b"1e999", b"NaN", b"-1", b'"', b"{", b"[" * 40, b"null", b"9" * 400, b"\\u0000", b"../", b"true"]
Pieces = st.sampled_from(ODD_BYTES) | st.binary(min_size=1, max_size=6)
Numbers = st.integers().map(str) | st.floats(allow_nan=False, allow_infinity=False).map(str) | st.sampled_from(["9" * 400, "-" + "9" * 400, "1e999", "1e-400"])
Texts = st.text(max_size=5) | st.sampled_from(["x" * 257, "", "*", "~overflow", "../x", "a\x00b", "feedback", "decision", "forget", "trace", "human"])
Values = (Numbers | Texts.map(json.dumps) | st.sampled_from(["null", "true", "[]", "{}", '"\\ud800"', '{"arm": {}}'])).map(str.encode)
Kinds = st.sampled_from(["revalue", "revalue", "revalue", "replace", "insert", "remove", "double", "cut"])
Damage = st.lists(st.builds(Change, kind=Kinds, at=st.integers(0, 500), piece=Pieces, value=Values, length=st.integers(1, 12)), min_size=1, max_size=3)


def damaged(body: bytes, damage: list[Change], shift: int) -> bytes:
    """Change a record, one change after the other."""
    for change in damage:
        body = change.applied(body, shift)
    return body


def sound_records() -> list[tuple[bytes, bytes]]:
    """Keys and values of records of all kinds, none of which is refused."""
    maker = RandomLog(random.Random(4))
    makers = (maker.trace, maker.trace, maker.feedback, maker.decision, maker.forget)
    return [(f"t{number}".encode(), json.dumps({"schema": 1, **makers[number % 5](f"t{number}")}).encode()) for number in range(RECORDS_AN_EXAMPLE)]


def test_mutated_records_are_read_or_refused_with_a_known_reason() -> None:
    """P4: 100,000 records, damaged as hypothesis draws it, are decoded and folded; none raises, and each is read or refused for a fault of its sender's.

    Each of 500 draws damages the same 200 sound records, every one at another place; hypothesis shrinks a damage that is not survived.
    """
    sound, reasons = sound_records(), Counter[str | None]()

    @settings(max_examples=MUTATIONS // RECORDS_AN_EXAMPLE, suppress_health_check=[HealthCheck.too_slow])
    @given(damage=Damage)
    def survives(damage: list[Change]) -> None:
        values = [damaged(value, damage, shift=7 * number) for number, (_, value) in enumerate(sound)]
        log = [LogRecord(offset, START_MS, key, value) for offset, ((key, _), value) in enumerate(zip(sound, values, strict=True))]

        decoded = [reason_of(value) for value in values]
        state = folded([log])

        assert [value for value, reason in zip(values, decoded, strict=True) if reason not in SENDERS_FAULTS] == []
        assert state.offset == len(log) - 1
        assert state.counters.refused >= sum(reason is not None for reason in decoded)
        reasons.update(decoded)

    survives()

    assert reasons.total() >= MUTATIONS
    assert len(reasons) >= 10, f"damage reached only {reasons}"


Leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
Json = Leaf | st.lists(Leaf, max_size=3) | st.dictionaries(st.sampled_from(["model", "kind", "arm", "propensity"]), Leaf, max_size=3)
Field = st.sampled_from("trace_id type schema query agent model outcome feedback total_tokens cost_usd decision query_class rater rater_kind score given_at arm".split())


@settings(max_examples=300)
@given(body=st.dictionaries(Field, Json, max_size=5), kind=st.sampled_from(["trace", "feedback", "decision", "forget", None]))
def test_any_json_is_read_or_refused_with_a_known_reason(body: dict[str, Any], kind: str | None) -> None:
    """P4 again, for records that are well-formed JSON with anything in known fields; hypothesis shrinks what it finds."""
    value = json.dumps({"trace_id": "t", "type": kind, **body}, ensure_ascii=False).encode("utf-8", "surrogatepass")

    assert reason_of(value) in SENDERS_FAULTS


def reason_of(value: bytes) -> str | None:
    """Why a record is refused, None where it is read."""
    try:
        read_record(value, max_bytes=10_000, classify=classify_query)
    except MalformedRecordError as refused:
        return refused.reason
    return None


# ---- statistics that merge


Sums = st.lists(st.integers(-(2**80), 2**80), min_size=len(identity()), max_size=len(identity()))
MERGEABLE = {"sums of a bucket": (identity, merge, Sums)}
"""Every mergeable statistic: its neutral element, its merge, and what it may be."""


@pytest.mark.parametrize("name", MERGEABLE)
@given(data=st.data())
def test_mergeable_statistics_are_commutative_monoids(name: str, data: st.DataObject) -> None:
    """Buckets may be merged in whatever order partitions and times arrive: the sums are the same."""
    neutral, combine, values = MERGEABLE[name]
    a, b, c = data.draw(values), data.draw(values), data.draw(values)

    assert combine(a, neutral()) == a == combine(neutral(), a)
    assert combine(a, b) == combine(b, a)
    assert combine(combine(a, b), c) == combine(a, combine(b, c))


def test_mergeable_statistics_would_be_caught_in_floats() -> None:
    """The broken twin: sums of floats depend on the order, so the property above would fail on them."""
    a, b, c = 0.1, 0.2, 0.3

    assert (a + b) + c != a + (b + c)


# ---- what is written is what is found


def test_checkpoints_carry_integers_beyond_64_bits() -> None:
    """Squares of micro-scores pass 64 bits at ten million traces a bucket; the totals must stay exact."""
    state = folded([log_of([{"trace_id": "t1", "model": "m", "outcome": "success"}])])
    state.totals.sums((0, state.totals.minute), 0)[20] = 2**90 + 1

    found, _ = recover(dict(write_checkpoint(state, Changelog(horizon=40), checkpoint_id=bytes(16), full=True).parts), number=0, spec=state.spec)

    assert found.canonical() == state.canonical()


@given(st.dictionaries(st.integers(0, 2**64 - 1), st.builds(Word, st.floats(allow_nan=False), st.integers(0, 10**6), st.integers(0, 2)), max_size=8))
def test_packed_ratings_are_found_again(words: dict[int, Word]) -> None:
    """Ratings are kept as bytes; what was packed is what is read."""
    assert unpack_ratings(pack_ratings(words)) == words


def test_counters_are_all_checkpointed() -> None:
    """A counter that is left out of the checkpoint would start again at every recovery."""
    state = folded([log_of([{"trace_id": "t1"}])])
    for at, name in enumerate(Counters.__struct_fields__):
        setattr(state.counters, name, 100 + at)

    found, _ = recover(dict(write_checkpoint(state, Changelog(horizon=40), checkpoint_id=bytes(16), full=False).parts), number=0, spec=state.spec)

    assert msgspec.structs.asdict(found.counters) == msgspec.structs.asdict(state.counters)


@pytest.mark.parametrize("seed", range(20))
def test_names_are_read_of_what_the_fold_takes(seed: int) -> None:
    """The archive lists what is folded, under the same class and agent, and calls malformed what is refused, for the same reason."""
    reader = NameReader(max_bytes=10_000, classify=classify_query)
    for record in random_log(seed, 300):
        try:
            read: Any = read_record(record.value, max_bytes=10_000, classify=classify_query)
        except MalformedRecordError as exc:
            with pytest.raises(MalformedRecordError) as refused:
                reader.read(record.value)
            assert refused.value.reason == exc.reason
        else:
            expected = Listed(read.query_class, read.arm.agent) if isinstance(read, TraceReading) else read
            assert reader.read(record.value) == (read.trace_id, expected)


AMOUNTS = st.one_of(st.just(-1), st.integers(0, 10**15))
ARRIVALS = st.lists(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, st.sampled_from([0, 1, 2]), st.one_of(st.just(-1), st.integers(0, 10**6))), max_size=12)


@given(ARRIVALS)
def test_traces_added_together_add_what_they_add_one_by_one(arrivals: list[tuple[int, int, int, int, int]]) -> None:
    """A chunk's traces of one bucket are summed column by column."""
    together, one_by_one = identity(), identity()
    add_arrivals(together, arrivals)
    for arrival in arrivals:
        add_arrivals(one_by_one, [arrival])
    assert together == one_by_one
    assert together[Sum.COUNT] == len(arrivals)


@pytest.mark.parametrize("horizon", [1, 40, 256, 700])
def test_index_finds_the_slot_that_a_dict_of_slots_would(horizon: int) -> None:
    """It knows of a key only its block of slots; entries move and leave meanwhile."""
    rnd, index, slots = random.Random(horizon), JoinIndex(small_spec(horizon=horizon)), dict[bytes, int]()
    for number in range(1, 3_001):
        key = bytes([rnd.randrange(3)]) + number.to_bytes(14, "big")
        if slots and rnd.random() < 0.2:
            key = rnd.choice(list(slots))
            index.clear(slots.pop(key))
        leaving = [other for other, slot in slots.items() if slot == index.seq % horizon]
        slots[key] = index.add(key, 0, 0, 0, -1, None)
        for other in leaving:
            del slots[other]
        if number % 100 == 0:
            again = (index.know_keys, index.compact_if_due)[number // 100 % 2]
            again()
            assert {other: index.find(other) for other in slots} == slots
            assert sorted(index.occupied()) == sorted(slots.values())
            assert len(index) == len(slots)
            assert index.find(b"never there....") is None


@pytest.mark.parametrize("seed", range(20))
def test_chunk_is_read_as_its_records_are(seed: int) -> None:
    """What is read of a record in a chunk is what `read_record` says of it; what it refuses, and what is misplaced, is left to it.

    Names are not checked: a cell of a name that would be refused is known to nobody. Tokens written as a float are left to `read_record`.
    """
    records, kinds = random_log(seed, 300), Counter()
    readings = read_chunk(records, max_bytes=10_000, classify=classify_query)
    for record, reading in zip(records, readings, strict=True):
        try:
            alone = read_record(record.value, max_bytes=10_000, classify=classify_query)
        except MalformedRecordError as exc:
            assert reading is None or exc.reason in {"bad_name", "bad_agent"}
            continue
        kinds[type(alone)] += reading is not None
        if isinstance(reading, FeedbackReading | DecisionReading):
            assert reading == alone
        elif reading is not None:
            assert PlainTrace(*reading) == as_plain(alone)
        else:
            assert isinstance(alone, ForgetReading) or record.key != alone.trace_id.encode() or b'"total_tokens": 250.0' in record.value
    assert kinds[TraceReading] > 50
    assert kinds[FeedbackReading] > 30
    assert kinds[DecisionReading] > 5


def as_plain(trace: TraceReading) -> PlainTrace:
    arrival = (trace.cost_nano_usd, trace.latency_ms, trace.tokens, trace.outcome, trace.inline_micro)
    return PlainTrace(hash_key(trace.trace_id.encode()), (trace.query_class, *trace.arm), bool(trace.drawn), arrival)
