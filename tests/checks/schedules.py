"""Random schedules over one partition: owners that fold, write checkpoints and die, zombies that go on, a cleaner, and readers that race it.

No broker is needed: the changelog is a list. What each owner sends arrives part by part, so that a crash may fall between any two
writes, and any number of owners may send at the same time. Every recovered state is compared with the oracle's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from stream.errors import CheckpointGapError
from stream.fold.checkpoint import Changelog, Checkpoint, recover, write_checkpoint
from stream.fold.fold import fold
from stream.fold.spec import FoldSpec, Silence
from stream.fold.state import PartitionState
from stream.reading.query_class import classify_query
from tests.logs import LogRecord, random_log, small_spec
from tests.oracle import oracle_canonical

LOG_RECORDS = 500
STEPS = 300
OWNERS = 4
SILENCES: tuple[Silence, ...] = ("failure", "unknown")


@dataclass(frozen=True)
class Rules:
    """What the schedule's world keeps to; each rule that is broken must be noticed."""

    id_per_checkpoint: bool = True
    """An id is used for one checkpoint, not for all of a process."""
    compaction_lag: bool = True
    """The cleaner leaves alone what was written since the slowest reader began."""


@dataclass(frozen=True)
class Written:
    """A record of the changelog."""

    number: int
    key: bytes
    value: bytes | None


class Topic:
    """The changelog as the broker keeps it."""

    def __init__(self) -> None:
        self.records: list[Written] = []
        self.high_watermark = 0

    def append(self, key: bytes, value: bytes | None) -> None:
        self.records.append(Written(self.high_watermark, key, value))
        self.high_watermark += 1

    def after(self, number: int) -> Written | None:
        return next((record for record in self.records if record.number > number), None)

    def compact(self, rnd: random.Random, *, below: int) -> None:
        """Clean the records below a random offset: of each key its last one stays, tombstones may go."""
        cut = rnd.randrange(below + 1)
        last = {record.key: record.number for record in self.records if record.number < cut}
        drop_tombstones = rnd.random() < 0.5
        self.records = [record for record in self.records if record.number >= cut or (last[record.key] == record.number and not (drop_tombstones and record.value is None))]


@dataclass
class Owner:
    """A worker that holds the partition, or believes so."""

    state: PartitionState
    changelog: Changelog
    process_id: bytes
    sending: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    in_flight: Checkpoint | None = None

    def fold(self, visible: list[LogRecord], count: int) -> None:
        unread = [record for record in visible if record.offset >= self.state.position]
        if unread:
            self.state.skip_hole(unread[0].offset)
            fold(self.state, unread[:count], classify_query)

    def checkpoint(self, checkpoint_id: bytes) -> None:
        """Begin a checkpoint, once the one before it and its tombstones have been sent."""
        if self.sending or self.state.offset <= self.changelog.durable:
            return
        full = self.changelog.full_is_due(self.state)
        self.in_flight = write_checkpoint(self.state, self.changelog, checkpoint_id=checkpoint_id, full=full)
        self.sending = list(self.in_flight.parts)

    def deliver(self, topic: Topic, count: int) -> None:
        """Let the broker append the next writes; the last part's acknowledgement completes the checkpoint."""
        for key, value in self.sending[:count]:
            topic.append(key, value)
        del self.sending[:count]
        if not self.sending and self.in_flight:
            self.sending = [(key, None) for key in self.changelog.acknowledged(self.in_flight)]
            self.in_flight = None


@lru_cache(maxsize=8)
def log_of(seed: int) -> list[LogRecord]:
    return random_log(seed, LOG_RECORDS, step_s=[1, 30, 600][seed % 3], decisions=[8, 40][seed % 2])


@lru_cache(maxsize=8 * LOG_RECORDS)
def expected(seed: int, spec: FoldSpec, offset: int) -> dict[str, Any]:
    return oracle_canonical([record for record in log_of(seed) if record.offset <= offset], spec, 0)


@dataclass
class Seen:
    """What a batch of schedules went through."""

    recoveries: int = 0
    gaps: int = 0
    mismatches: list[str] = field(default_factory=list)
    parts_merged: int = 0


class Schedule:
    """One random schedule."""

    def __init__(self, seed: int, rules: Rules, seen: Seen) -> None:
        self.seed, self.rules, self.seen = seed, rules, seen
        self.rnd = random.Random(seed)
        self.log_seed = seed % 6
        self.spec = small_spec(horizon=[40, 7, 200][seed % 3], silence=SILENCES[seed // 6 % 2], silence_s=[10, 400, 3_000][seed % 3])
        self.log = log_of(self.log_seed)
        self.visible = 20
        self.topic = Topic()
        self.process_ids = [bytes([number]) * 16 for number in range(3)]
        self.owners = [self.recovered({})]

    def run(self) -> None:
        for step in range(STEPS):
            self.visible = min(len(self.log), self.visible + self.rnd.randrange(4))
            action = self.rnd.choices([self.work, self.clean, self.kill, self.take_over], [86, 5, 3, 6])[0]
            if not self.owners:
                action = self.take_over
            action()
            if self.seen.mismatches:
                self.seen.mismatches[-1] += f" (seed {self.seed}, step {step})"
                return

    def work(self) -> None:
        """One thing that one owner does; the last one is the rightful one, the others are zombies."""
        owner = self.owners[-1] if self.rnd.random() < 0.7 else self.rnd.choice(self.owners)
        what = self.rnd.choices(["fold", "checkpoint", "deliver"], [4, 2, 4])[0]
        if what == "fold":
            owner.fold(self.log[: self.visible], self.rnd.randrange(1, 12))
        elif what == "checkpoint":
            owner.checkpoint(self.checkpoint_id(owner))
        else:
            owner.deliver(self.topic, self.rnd.randrange(1, 6))

    def hurry(self, owner: Owner) -> None:
        """All that an owner does, at once."""
        owner.fold(self.log[: self.visible], self.rnd.randrange(1, 12))
        owner.checkpoint(self.checkpoint_id(owner))
        owner.deliver(self.topic, 9)

    def checkpoint_id(self, owner: Owner) -> bytes:
        return self.rnd.randbytes(16) if self.rules.id_per_checkpoint else owner.process_id

    def clean(self) -> None:
        self.topic.compact(self.rnd, below=self.topic.high_watermark)

    def kill(self) -> None:
        """An owner dies: what it has not delivered is gone."""
        self.owners.pop(self.rnd.randrange(len(self.owners)))

    def take_over(self) -> None:
        """Another owner reads the changelog, while the others go on and the cleaner runs; on a gap it reads again."""
        for _ in range(20):
            try:
                owner = self.recovered(self.read_racing())
                break
            except CheckpointGapError:
                self.seen.gaps += 1
        else:
            owner = self.recovered({record.key: record.value for record in self.topic.records if record.value is not None})
        self.compare(owner.state)
        self.owners = [*self.owners, owner][-OWNERS:]

    def read_racing(self) -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for record in self.reading():
            if record.value is None:
                found.pop(record.key, None)
            else:
                found[record.key] = record.value
        return found

    def reading(self) -> Iterator[Written]:
        """Read record by record, up to the high watermark of the start."""
        end, at = self.topic.high_watermark, -1
        while (record := self.topic.after(at)) is not None and record.number < end:
            at = record.number
            yield record
            if self.owners and self.rnd.random() < 0.3:
                self.hurry(self.rnd.choice(self.owners))
            if self.rnd.random() < 0.1:
                self.topic.compact(self.rnd, below=end if self.rules.compaction_lag else self.topic.high_watermark)

    def recovered(self, parts: Mapping[bytes, bytes]) -> Owner:
        state, changelog = recover(parts, number=0, spec=self.spec)
        return Owner(state, changelog, self.rnd.choice(self.process_ids))

    def compare(self, state: PartitionState) -> None:
        self.seen.recoveries += 1
        if state.offset >= 0 and state.canonical() != expected(self.log_seed, self.spec, state.offset):
            self.seen.mismatches.append(f"state at offset {state.offset} differs from the oracle's")


def run_schedules(seeds: range, rules: Rules) -> Seen:
    """Run schedules until one recovers a wrong state; an error, or a gap that reading again does not close, counts as wrong too."""
    seen = Seen()
    for seed in seeds:
        try:
            Schedule(seed, rules, seen).run()
        except (KeyError, IndexError, ValueError, CheckpointGapError) as exc:
            seen.mismatches.append(f"{type(exc).__name__}: {exc} (seed {seed})")
        if seen.mismatches:
            break
    return seen
