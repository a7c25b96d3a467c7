"""Contestants that read the same topic one after another, and what each of them took: wall time, and processor time of every process."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks.broker import Ground
from benchmarks.processes import Sample, Script, Service, cpu_s, say
from stream.fold.spec import FoldSpec
from stream.provision import changelog, provision
from stream.records import Override
from stream.topics import OVERRIDES

START_S = 120.0
"""To the first record."""
CHECKPOINTED = "eddy_checkpoint_bytes_total"
ARCHIVED = "eddy_archived_records_total"

_lives = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is run over: a ground, and how many records of how many traces stand on its topic.

    Attributes:
        where: the ground.
        records: on the topic.
        traces: among them.
        cap_s: after which a slow contestant is stopped; its rate is known by then.
    """

    where: Ground
    records: int
    traces: int
    cap_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one contestant took, from its first records to its last.

    Attributes:
        records: done in that time.
        seconds: wall time.
        cpu_s: processor seconds, by process.
        traces_share: traces in a record.
        found: what else it said.
    """

    records: int
    seconds: float
    cpu_s: Mapping[str, float]
    traces_share: float
    found: Mapping[str, float] = field(default_factory=dict)

    @property
    def traces_per_s(self) -> float:
        return self.records * self.traces_share / self.seconds

    def cpu_us(self, *processes: str) -> float:
        """Processor time a trace in µs, of some processes or of all but the broker."""
        counted = processes or tuple(name for name in self.cpu_s if name != "broker")
        return sum(self.cpu_s[name] for name in counted) / (self.records * self.traces_share) * 1e6


class Contestant(Protocol):
    """Somebody who reads the topic from its start to its end."""

    name: str

    async def run(self, course: Course) -> Run:
        """Read it."""


class Stopwatch:
    """Follows the samples of one process and takes the processor time of several at the first and at the last."""

    def __init__(self, course: Course, programs: Mapping[str, int]) -> None:
        self._course, self._pids = course, {"broker": course.where.pid, **programs}
        self.first: Sample | None = None
        self.last: Sample | None = None
        self._before: dict[str, float] = {}

    async def follow(self, samples: AsyncIterator[Sample]) -> None:
        """Follow until all records are done, or time is up.

        Raises:
            TimeoutError: there was no first record, or the last word came long ago.
        """
        async with asyncio.timeout(START_S + self._course.cap_s):
            async for sample in samples:
                if self.first is None:
                    self.first, self._before = sample, self._used()
                self.last = sample
                if sample.records >= self._course.records or sample.at_s - self.first.at_s > self._course.cap_s:
                    return

    def stop(self, found: Mapping[str, float] | None = None) -> Run:
        """Take the processor time now."""
        first, last = self.first, self.last
        if first is None or last is None or last.records == first.records:
            raise TimeoutError(f"only {last.records if last else 0} records were read, but a rate needs more; see the logs in {self._course.where.folder}")
        used = {name: after - self._before[name] for name, after in self._used().items()}
        share = self._course.traces / self._course.records
        return Run(records=last.records - first.records, seconds=last.at_s - first.at_s, cpu_s=used, traces_share=share, found=found or {})

    def _used(self) -> dict[str, float]:
        return {name: cpu_s(pid) for name, pid in self._pids.items()}


class OtherLoop:
    """A program of `benchmarks.contestants`.

    Args:
        name: of its module.
        python: what runs it.
    """

    def __init__(self, name: str, python: str = sys.executable) -> None:
        self.name, self._python = name, python

    async def run(self, course: Course) -> Run:
        """Start it, follow it, end it."""
        where, name = course.where, f"{self.name.replace('_', '-')}-{next(_lives)}"
        if self.name == "naive_faust":
            await provision(where.settings, [changelog(f"{name}-{table}-changelog", partitions=where.settings.partitions) for table in ("totals", "windows")])
        options = ["--bootstrap", where.settings.bootstrap, "--records", str(course.records), "--folder", str(where.folder), "--name", name]
        script = Script(name, [self._python, "-m", f"benchmarks.contestants.{self.name}", *options], folder=where.folder)
        script.start()
        try:
            watch = Stopwatch(course, {"loop": script.pid})
            await watch.follow(script.samples())
            return watch.stop()
        finally:
            script.kill()


class Eddy:
    """A worker that folds the whole topic, under a fold id of its own, so that it knows nothing from before.

    Args:
        learner: whether the learner archives the same topic at the same time.
        fields: settings besides those of the ground.
    """

    def __init__(self, *, learner: bool = False, **fields: object) -> None:
        self.name = "eddy_and_learner" if learner else "eddy"
        self._learner, self._fields = learner, fields

    async def run(self, course: Course) -> Run:
        """Start, follow until everything is durable (and archived), end."""
        worker = await new_worker(course.where, **self._fields)
        learner = new_learner(course.where, worker.folder) if self._learner else None
        programs = [worker, learner] if learner else [worker]
        try:
            if learner:
                await held_back(learner)
            worker.start()
            watch = Stopwatch(course, {program.name: program.pid for program in programs})
            await watch.follow(_letting_go(worker.samples(), learner))
            found = await worker.settle(CHECKPOINTED)
            return watch.stop(found | (await archived(learner, course) if learner else {}))
        finally:
            for program in programs:
                program.kill()


class Learner:
    """A learner that archives the whole topic, alone."""

    name = "learner"

    async def run(self, course: Course) -> Run:
        """Start, follow until everything is archived and indexed, end."""
        learner = new_learner(course.where, course.where.folder / f"learner-{next(_lives)}")
        try:
            await held_back(learner)
            watch = Stopwatch(course, {"learner": learner.pid})
            await watch.follow(_from_nothing(learner))
            return watch.stop(await archived(learner, course))
        finally:
            learner.kill()


async def held_back(learner: Service) -> None:
    """Start a learner and stop it right before it reads: it comes up sooner than a worker, and would be done before that begins."""
    learner.start()
    while not learner.serves:
        if not learner.runs:
            raise TimeoutError(f"the learner ended before it read anything; see {learner.log_path}")
        await asyncio.sleep(0.001)
    learner.signal(signal.SIGSTOP)


async def _letting_go(samples: AsyncIterator[Sample], learner: Service | None) -> AsyncIterator[Sample]:
    """Pass samples on, and let a stopped learner go at the first."""
    is_first = True
    async for sample in samples:
        yield sample
        if is_first and learner:
            learner.signal(signal.SIGCONT)
        is_first = False


async def _from_nothing(learner: Service) -> AsyncIterator[Sample]:
    """Let a stopped learner go, and say how far it is from there on: small logs are archived between two looks."""
    yield Sample(0, time.time())
    learner.signal(signal.SIGCONT)
    async for sample in learner.samples():
        yield sample


async def new_worker(where: Ground, **fields: object) -> Service:
    """Make a worker, not started, whose fold nobody has had before and which is the active one."""
    number = next(_lives)
    fields = {"keep_days": 32 + number, "instance": f"bench-{number}"} | fields
    await activate(where, FoldSpec.of(where.settings.model_copy(update=fields)).id)
    return Service("worker", where.folder / f"worker-{number}", where.environ(**fields))


def new_learner(where: Ground, folder: Path) -> Service:
    """Make a learner, not started, with an archive of its own."""
    return Service("learner", folder, where.environ(), progress=ARCHIVED)


async def archived(learner: Service, course: Course) -> dict[str, float]:
    """Wait until the learner has archived and indexed all; says when it had, in epoch seconds."""
    deadline_s = time.monotonic() + START_S
    while (found := await learner.metrics()).get(ARCHIVED, 0) < course.records and time.monotonic() < deadline_s:
        await asyncio.sleep(0.1)
    done_s = time.time()
    await asyncio.sleep(1.2)  # the last batch of the indexes waits a second for more
    return {"archived": found.get(ARCHIVED, 0.0), "archived_at_s": done_s}


async def activate(where: Ground, fold: str) -> None:
    """Name a fold the active one: the others publish nothing."""
    override = Override(kind="active_fold", fold=fold, reason="a benchmark")
    producer = AIOKafkaProducer(**where.settings.client_options)
    await producer.start()
    try:
        await producer.send_and_wait(OVERRIDES.name, msgspec.json.encode(override), key=override.key.encode(), partition=0)
    finally:
        await producer.stop()


async def alternately(contestants: list[Contestant], course: Course, *, rounds: int, once: frozenset[str] = frozenset()) -> dict[str, list[Run]]:
    """Let all run in turn, so many rounds; those named in `once` in the first round only.

    Returns:
        The runs of each, in order.
    """
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        for contestant in contestants:
            if number and contestant.name in once:
                continue
            run = await contestant.run(course)
            runs[contestant.name].append(run)
            cpu = ", ".join(f"{name} {run.cpu_us(name):.1f}" for name in run.cpu_s)
            say(f"round {number + 1} of {rounds}: {contestant.name}: {run.traces_per_s:,.0f} traces/s over {run.seconds:.1f} s; CPU us a trace: {cpu}")
    return runs
