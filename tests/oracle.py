"""The oracle: what a partition's state must be, computed slowly and obviously from all of its records.

It keeps every record it ever saw in plain lists and derives the state from them at the end. It shares nothing with
`stream.fold` but the names of the sums; records are read by `stream.reading`, which has tests of its own.
`oracle_canonical` is equal to `PartitionState.canonical()` of a fold of the same log (in one epoch of it).
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import xxhash
from aiokafka.partitioner import murmur2

from stream.errors import MalformedRecordError
from stream.fold.spec import FoldSpec
from stream.fold.totals import Sum
from stream.reading.arm import FullArm
from stream.reading.outcome import Outcome
from stream.reading.query_class import classifier
from stream.reading.record import DecisionReading, FeedbackReading, ForgetReading, TraceReading, read_record
from stream.reading.reward import reward_function
from stream.records import Arm, Trace

DAY_MS = 24 * 60 * 60 * 1000
LAST_MS = 253_402_300_799_999
RATERS = 64
COUNTERS = (
    "records traces duplicates feedback stale_feedback late_feedback waiting unmatched_feedback unmatched_decisions decisions silent_decisions late_traces forgets"
    " refused misplaced overflow_classes overflow_arms overflow_raters holes lost epochs reward_faults"
).split()


class LogRecord(Protocol):
    """A record of the log; aiokafka's `ConsumerRecord` is one."""

    @property
    def offset(self) -> int: ...

    @property
    def timestamp(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...


@dataclass
class Waiting:
    """A decision, and the class and arm that its silence is held against; no class where it names none."""

    said: DecisionReading
    at_ms: int
    query_class: str = ""
    arm: tuple[str, ...] = ()
    is_silent: bool = False


@dataclass
class Entry:
    """What took a number in the join index: a trace, or what waits for one."""

    seq: int
    trace_id: str
    minute: int
    trace: TraceReading | None = None
    query_class: str = ""
    arm: tuple[str, ...] = ()
    drawn: int = 0
    words: dict[str, list[tuple[float, int, int]]] = field(default_factory=dict)
    decision: Waiting | None = None
    has_moved: bool = False
    reward: int | None = None

    def last_words(self) -> dict[str, tuple[float, int, int]]:
        return {rater: max(said) for rater, said in self.words.items()}


class Oracle:
    """All that was ever said to one partition."""

    def __init__(self, spec: FoldSpec, number: int, classify: Callable[[str], str]) -> None:
        self.spec, self.number, self.classify = spec, number, classify
        self.reward = reward_function(spec.reward, spec.reward_without)
        self.counts: Counter[str] = Counter()
        self.entries: list[Entry] = []
        self.newest: dict[str, Entry] = {}
        self.undecided: list[Entry] = []
        self.last_minute_of_arm: dict[tuple[str, tuple[str, ...]], int] = {}
        self.now_ms = -1
        self.offset = -1
        self.hash = 0

    # ---- one record after the other

    def read(self, record: LogRecord) -> None:
        self.counts["records"] += 1
        self.counts["holes"] += record.offset - self.offset - 1
        self.offset = record.offset
        self.hash = xxhash.xxh3_64_intdigest(record.value or b"", seed=record.timestamp % 2**64) or 1
        self.now_ms = self.time_at(record.timestamp)
        self.look_at_the_clock()
        try:
            reading = read_record(record.value, max_bytes=self.spec.max_record_bytes, classify=self.classify)
            self.take(record, self.of_its_tenant(reading, record) if self.spec.tenants == "apart" else reading)
        except MalformedRecordError:
            self.counts["refused"] += 1

    def of_its_tenant(self, reading: Any, record: LogRecord) -> Any:
        """With tenants apart, a class is called TENANT|CLASS, where a backslash before `|` or a backslash says that it is meant as it is."""
        if not isinstance(reading, TraceReading | DecisionReading) or not reading.query_class:
            return reading
        said = json.loads(record.value or b"")
        tenant = said.get("tenant", "")
        if tenant == "" and said.get("decision"):
            tenant = said["decision"].get("tenant", "")
        if not isinstance(tenant, str) or len(tenant) > 256 or any(unicodedata.category(character) == "Cc" for character in tenant):
            raise MalformedRecordError("bad_name", "")
        name = "|".join("".join("\\" + character if character in "|\\" else character for character in part) for part in (tenant, reading.query_class))
        return msgspec.structs.replace(reading, query_class=name)

    def time_at(self, timestamp: int) -> int:
        if self.now_ms < 0:
            return min(max(timestamp, 0), LAST_MS)
        return min(max(self.now_ms, min(timestamp, self.now_ms + DAY_MS)), LAST_MS)

    def look_at_the_clock(self) -> None:
        """Ask every decision that has no trace, and is remembered, whether its time is over."""
        self.undecided = [entry for entry in self.undecided if not entry.has_moved and self.is_within_horizon(entry)]
        for entry in self.undecided:
            if entry.decision.query_class and self.now_ms > entry.decision.at_ms + 1000 * self.spec.silence_s:
                entry.decision.is_silent = True
        self.counts["silent_decisions"] += sum(entry.decision.is_silent for entry in self.undecided)
        self.undecided = [entry for entry in self.undecided if not entry.decision.is_silent]

    def take(self, record: LogRecord, reading: Any) -> None:
        key = reading.trace_id.encode()
        if record.key != key or (murmur2(key) & 0x7FFFFFFF) % self.spec.partitions != self.number:
            self.counts["misplaced"] += 1
        elif isinstance(reading, TraceReading):
            self.take_trace(reading, record.value or b"")
        elif isinstance(reading, FeedbackReading):
            self.take_feedback(reading, max(self.now_ms, record.timestamp))
        elif isinstance(reading, DecisionReading):
            self.take_decision(reading)
        elif isinstance(reading, ForgetReading):
            self.counts["forgets"] += 1

    def take_trace(self, trace: TraceReading, value: bytes) -> None:
        known = self.find(trace.trace_id)
        if known is not None and known.trace is not None:
            self.counts["duplicates"] += 1
            return
        self.counts["traces"] += 1
        query_class, arm = self.capped(trace.query_class, tuple(trace.arm))
        self.counts["overflow_classes"] += query_class != trace.query_class
        self.counts["overflow_arms"] += arm != tuple(trace.arm)
        self.last_minute_of_arm[query_class, arm] = self.minute
        entry = self.enter(trace.trace_id)
        entry.trace, entry.query_class, entry.arm = trace, query_class, arm
        drawn = trace.drawn
        if known is not None:
            known.has_moved = True
            entry.words = known.words
            self.counts["late_traces"] += known.decision is not None and known.decision.is_silent
            if drawn is None and known.decision is not None and known.decision.said.drawn:
                drawn = all(named in ("", served) for named, served in zip(known.decision.said.arm, trace.arm, strict=True))
        entry.drawn = int(bool(drawn))
        if self.reward is not None:
            entry.reward = self.rewarded(value)

    def rewarded(self, value: bytes) -> int | None:
        """The micro-reward of a trace, None where it is unknown."""
        try:
            trace = msgspec.json.decode(value, type=Trace)
        except msgspec.ValidationError:
            return None
        try:
            answer = self.reward(trace)
            if answer is None:
                return None
            if 0 <= answer <= 1:
                return int(float(answer) * 1_000_000 + 0.5)
        except Exception:
            pass
        self.counts["reward_faults"] += 1
        return None

    def take_feedback(self, feedback: FeedbackReading, latest_ms: int) -> None:
        if feedback.given_at_s * 1000 > latest_ms + 600_000:
            raise MalformedRecordError("future", "")
        self.counts["feedback"] += 1
        entry = self.find(feedback.trace_id) or self.enter(feedback.trace_id)
        word = (feedback.given_at_s, feedback.micro, ["human", "judge", "program"].index(feedback.rater_kind))
        if word <= max(entry.words.get(feedback.rater, []), default=(float("-inf"), -1, -1)):
            self.counts["stale_feedback"] += 1
        elif feedback.rater not in entry.words and len(entry.words) >= RATERS:
            self.counts["overflow_raters"] += 1
        else:
            entry.words.setdefault(feedback.rater, []).append(word)
            self.counts["late_feedback"] += (entry.trace is not None or self.is_failed(entry)) and self.span_of(entry.minute) is None

    def take_decision(self, decision: DecisionReading) -> None:
        self.counts["decisions"] += 1
        entry = self.find(decision.trace_id) or self.enter(decision.trace_id)
        if entry.trace is None and entry.decision is None:
            entry.decision = Waiting(decision, self.now_ms)
            if decision.query_class:
                cell = entry.decision.query_class, entry.decision.arm = self.capped(decision.query_class, tuple(decision.arm))
                self.last_minute_of_arm[cell] = entry.minute = self.minute
            self.undecided.append(entry)

    def is_failed(self, entry: Entry) -> bool:
        """Whether an entry without a trace counts as one that failed."""
        return self.spec.silence == "failure" and entry.trace is None and not entry.has_moved and entry.decision is not None and entry.decision.is_silent

    # ---- the index

    @property
    def minute(self) -> int:
        return self.now_ms // 60_000

    def is_within_horizon(self, entry: Entry) -> bool:
        return len(self.entries) - entry.seq <= self.spec.horizon

    def find(self, trace_id: str) -> Entry | None:
        entry = self.newest.get(trace_id)
        return entry if entry is not None and self.is_within_horizon(entry) else None

    def enter(self, trace_id: str) -> Entry:
        entry = self.newest[trace_id] = Entry(len(self.entries), trace_id, self.minute)
        self.entries.append(entry)
        return entry

    # ---- time and caps

    def span_of(self, minute: int) -> tuple[int, int] | None:
        """(width, start) in seconds of the bucket that holds what was counted in a minute."""
        for width_s, keep in ((60, self.spec.keep_minutes), (3_600, self.spec.keep_hours), (86_400, self.spec.keep_days)):
            start, current = minute * 60 // width_s, self.minute * 60 // width_s
            if current - start < keep:
                return width_s, start * width_s
        return None

    def capped(self, query_class: str, arm: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        here = [cell for cell, minute in self.last_minute_of_arm.items() if self.span_of(minute) is not None]
        classes = {known for known, _ in here} - {"~overflow"}
        if query_class not in classes | {"~overflow"} and len(classes) >= self.spec.max_classes:
            query_class = "~overflow"
        overflow = ("~overflow", "", "", "")
        arms = {known for of, known in here if of == query_class} - {overflow}
        if arm not in arms | {overflow} and len(arms) >= self.spec.max_arms:
            arm = overflow
        return query_class, arm

    # ---- what follows from all of it

    def canonical(self) -> dict[str, Any]:
        gone = [entry for entry in self.entries if not self.is_within_horizon(entry) and entry.trace is None and not entry.has_moved]
        here = [entry for entry in self.entries if self.is_within_horizon(entry) and not entry.has_moved]
        self.counts["unmatched_feedback"] = sum(bool(entry.words) for entry in gone)
        self.counts["unmatched_decisions"] = sum(entry.decision is not None for entry in gone)
        self.counts["waiting"] = sum(entry.trace is None for entry in here)
        return {
            "number": self.number,
            "offset": self.offset,
            "base": 0,
            "epoch": 0,
            "epoch_start": 0,
            "record_hash": self.hash,
            "log_time_ms": self.now_ms,
            "seq": len(self.entries),
            "counters": {name: self.counts[name] for name in COUNTERS},
            "totals": self.totals(),
            "pairs": self.pairs(),
            "index": [self.row(entry) for entry in here],
        }

    def totals(self) -> dict[str, Any]:
        totals: dict[str, Any] = {}
        for entry in self.entries:
            span = self.span_of(entry.minute)
            query_class, arm, drawn, added = self.counted(entry)
            if added and span is not None:
                buckets = totals.setdefault(query_class, {}).setdefault(arm_id(arm), {})
                sums = buckets.setdefault(f"{span[0]}/{span[1]}/{drawn}", [0] * (22 if self.reward is None else 25))
                for place, amount in added.items():
                    sums[place] += amount
        return totals

    def counted(self, entry: Entry) -> tuple[str, tuple[str, ...], int, Counter[Sum]]:
        """Class, arm and draw that an entry counts for, and what it adds there: as a trace, as silence, as a decision that waits, or nothing."""
        waiting = entry.decision
        if entry.trace is not None:
            return entry.query_class, entry.arm, entry.drawn, contributions(entry.trace, entry.last_words(), entry.reward)
        if waiting is None or not waiting.query_class or entry.has_moved:
            return "", (), 0, Counter()
        cell = waiting.query_class, waiting.arm, int(waiting.said.drawn)
        if self.is_failed(entry):
            return *cell, contributions(NOTHING_BUT_FAILURE, entry.last_words(), None if self.reward is None else 0)
        return *cell, Counter({Sum.UNRESOLVED: 1} if self.is_within_horizon(entry) and not waiting.is_silent else {})

    def pairs(self) -> dict[str, Any]:
        """What a person and another source said of the same traces of a day, while any bucket keeps the day's last minute."""
        pairs: dict[str, list[int]] = {}
        for entry in self.entries:
            day = entry.minute // 1440
            if entry.trace is None or self.span_of(day * 1440 + 1439) is None:
                continue
            human, *others = (score_by(source, entry.trace, entry.last_words()) for source in (Sum.HUMAN, Sum.JUDGE, Sum.PROGRAM, Sum.OUTCOME))
            for number, other in enumerate(others, 1):
                if human is not None and other is not None:
                    sums = pairs.setdefault(f"{day * 86_400}/{number}", [0] * 5)
                    for place, amount in enumerate([1, human, other, human * other, other**2]):
                        sums[place] += amount
        return pairs

    def row(self, entry: Entry) -> list[Any]:
        ratings = sorted([xxhash.xxh3_64_intdigest(rater.encode()), *word] for rater, word in entry.last_words().items())
        decision = self.decision_of(entry) if entry.trace is None and entry.decision is not None else None
        return [entry.seq, xxhash.xxh3_128_digest(entry.trace_id.encode())[:15].hex(), self.trace_of(entry), ratings, decision]

    def decision_of(self, entry: Entry) -> list[Any]:
        waiting = entry.decision
        is_placed = waiting.query_class and self.span_of(entry.minute)
        cell = [waiting.query_class, arm_id(waiting.arm), int(waiting.said.drawn)] if is_placed else None
        return [list(waiting.said.arm), waiting.said.drawn, waiting.at_ms, cell, self.is_failed(entry)]

    def trace_of(self, entry: Entry) -> list[Any] | None:
        if entry.trace is None:
            return None
        cell = [entry.query_class, arm_id(entry.arm), entry.drawn] if self.span_of(entry.minute) else None
        return [cell, entry.minute, int(entry.trace.outcome), entry.trace.inline_micro]


NOTHING_BUT_FAILURE = TraceReading("", "", FullArm("", "", "", ""), None, Outcome.FAILURE, -1, -1, -1, -1)
"""What silence counts as: a trace of which nothing is known but that it failed."""


def arm_id(arm: tuple[str, ...]) -> str:
    return Arm(**dict(zip(("model", "agent", "config_version", "adapter"), arm, strict=True))).id


def contributions(trace: TraceReading, words: dict[str, tuple[float, int, int]], reward: int | None) -> Counter[Sum]:
    """What one trace adds to the sums of its bucket."""
    added = Counter({Sum.COUNT: 1})
    for known, total, amount in (
        (Sum.COST_KNOWN, Sum.COST_NANO_USD, trace.cost_nano_usd),
        (Sum.LATENCY_KNOWN, Sum.LATENCY_MS, trace.latency_ms),
        (Sum.TOKENS_KNOWN, Sum.TOKENS, trace.tokens),
    ):
        if amount != -1:
            added[known], added[total] = 1, amount
    added[Sum.SUCCESSES], added[Sum.FAILURES] = int(trace.outcome == 1), int(trace.outcome == 2)
    source, micro = score(trace, words)
    if source is not None:
        added[source] = 1
        added[Sum(source + 1)], added[Sum(source + 2)] = micro, micro**2
    if reward is not None:
        added += Counter({Sum.REWARD: 1, Sum.REWARD_MICRO: reward, Sum.REWARD_MICRO_SQ: reward**2})
    return added


def score(trace: TraceReading, words: dict[str, tuple[float, int, int]]) -> tuple[Sum | None, int]:
    """The best source of a trace's score, and its micro-score."""
    for source in (Sum.HUMAN, Sum.JUDGE, Sum.PROGRAM, Sum.OUTCOME):
        if (micro := score_by(source, trace, words)) is not None:
            return source, micro
    return None, 0


def score_by(source: Sum, trace: TraceReading, words: dict[str, tuple[float, int, int]]) -> int | None:
    """What one source says of a trace."""
    if source is Sum.OUTCOME:
        return {0: None, 1: 1_000_000, 2: 0}[int(trace.outcome)]
    kind = [Sum.HUMAN, Sum.JUDGE, Sum.PROGRAM].index(source)
    if given := [micro for _, micro, of_kind in words.values() if of_kind == kind]:
        return sum(given) // len(given)
    return trace.inline_micro if source is Sum.PROGRAM and trace.inline_micro != -1 else None


def oracle_canonical(records: Sequence[LogRecord], spec: FoldSpec, number: int, classify: Callable[[str], str] | None = None) -> dict[str, Any]:
    """Return what `PartitionState.canonical()` must be after these records, the log's first ones, in order.

    Args:
        records: of one partition, in one epoch of the log.
        spec: of the fold.
        number: of the partition.
        classify: instead of the classifier that the spec names.
    """
    oracle = Oracle(spec, number, classify or classifier(spec.classifier))
    for record in records:
        oracle.read(record)
    return oracle.canonical()
