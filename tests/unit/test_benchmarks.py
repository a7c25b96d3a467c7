"""The parts of the benchmarks that need no broker: workloads, figures, sampled stacks, and how a contestant is timed."""

from __future__ import annotations

import argparse
import doctest
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import fill, processes, profiling, report
from benchmarks.contest import Course, Run, Stopwatch
from benchmarks.contestants.clock import Clock
from benchmarks.inside import Partition, chunks, standing
from benchmarks.processes import Sample
from benchmarks.workload import SCENARIOS, Scenario, count, write
from stream.fold.checkpoint import recover
from stream.reading.record import FeedbackReading, TraceReading, read_record

NOW_S = 1_700_000_000.0


def readings(scenario: Scenario, traces: int) -> list[TraceReading | FeedbackReading]:
    return [read_record(value, max_bytes=10_000, classify=lambda _: "read") for _, value in write(scenario, traces, now_s=NOW_S)]  # type: ignore[misc]


@pytest.mark.parametrize("module", [processes, profiling, report])
def test_examples_hold(module: object) -> None:
    """What a docstring shows is what the function does."""
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_a_scenario_writes_the_same_log_for_ever() -> None:
    """Its id is permanent: figures of two versions of Eddy are figures of the same records."""
    first, second = (list(write(SCENARIOS["8x6"], 200, now_s=NOW_S)) for _ in range(2))

    assert first == second
    assert count(SCENARIOS["8x6"], 200) == len(first)


def test_a_scenario_is_what_its_id_says() -> None:
    """8 classes, 6 arms, traces of 1.5 kB within a tenth, each rating after its trace, a fifth of the traces rated.

    Of 2,000 traces 400 are rated on average, with a deviation of sqrt(2000 x .2 x .8) = 18: beyond 300 or 500 about never.
    """
    written = list(write(SCENARIOS["8x6"], 2_000, now_s=NOW_S))
    read = readings(SCENARIOS["8x6"], 2_000)

    traces = [each for each in read if isinstance(each, TraceReading)]
    seen: set[str] = set()
    for each in read:
        assert isinstance(each, TraceReading) or each.trace_id in seen
        seen.add(each.trace_id)
    assert len(traces) == 2_000
    assert 300 < len(read) - len(traces) < 500
    assert len({trace.query_class for trace in traces}) == 8
    assert len({trace.arm for trace in traces}) == 6
    sizes = [len(value) for _, value in written if b'"type":"trace"' in value]
    assert 1_350 < sum(sizes) / len(sizes) < 1_650


def test_an_unnamed_scenario_leaves_the_class_to_the_classifier() -> None:
    """That is the one difference which the scenario is there to show."""
    traces = [each for each in readings(SCENARIOS["8x6-unnamed"], 50) if isinstance(each, TraceReading)]

    assert {trace.query_class for trace in traces} == {"read"}


def test_a_section_replaces_only_itself() -> None:
    """Six benchmarks write one page: none may touch what stands around its own figures."""
    page = report.replaced(report.replaced("# Benchmarks\n\nWords.\n", "one", "1"), "two", "2")

    again = report.replaced(page, "one", "new")

    assert again == page.replace("\n1\n", "\nnew\n")
    assert "Words." in again


def test_the_last_line_is_one_flat_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever runs a benchmark reads the last line of its output, whatever it said before."""
    report.finish("x", {"a": 0.123456, "b": None}, conditions="", notes=(), write=False)

    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"a": 0.1235, "b": None}


def test_a_stack_counts_for_its_innermost_known_place() -> None:
    """The fold calls the decoder: what the decoder takes is the decoder's, also where its leaf is nobody's."""
    stack = "observe (agents/observe.py:34);fold (stream/fold/fold.py:99);read_record (stream/reading/record.py:170);helper (elsewhere.py:1)"

    assert profiling.grouped([f"{stack} 4"]) == Counter({"decode and read": 4})


def course(records: int) -> Course:
    where = SimpleNamespace(pid=os.getpid(), folder=Path())
    return Course(where=where, records=records, traces=records // 2, cap_s=5.0)  # type: ignore[arg-type]


async def said(*samples: Sample) -> AsyncIterator[Sample]:
    for sample in samples:
        yield sample


async def test_a_run_is_timed_from_its_first_sample_to_its_last() -> None:
    """Starting up is not throughput: what was done by the first sample counts no more than the time until then.

    100 records at 10 s, 600 at 12 s: 500 records, every other of them a trace, in 2 s are 125 traces a second.
    """
    watch = Stopwatch(course(600), {"loop": os.getpid()})

    await watch.follow(said(Sample(100, 10.0), Sample(300, 11.0), Sample(600, 12.0), Sample(600, 99.0)))

    assert watch.stop().traces_per_s == pytest.approx(125.0)


async def test_a_slow_run_ends_when_its_time_is_up() -> None:
    """A contestant that is a hundred times slower must not take a hundred times as long."""
    watch = Stopwatch(course(10_000), {})

    await watch.follow(said(Sample(1, 0.0), Sample(5, 4.0), Sample(9, 6.0), Sample(10, 7.0)))

    assert watch.stop().records == 8


async def test_a_run_without_two_samples_has_no_rate() -> None:
    """A contestant that died at its start must fail the benchmark, not look infinitely fast."""
    watch = Stopwatch(course(10), {})

    await watch.follow(said(Sample(3, 1.0)))

    with pytest.raises(TimeoutError, match="only 3 records"):
        watch.stop()


def test_processor_time_a_trace_leaves_out_the_broker() -> None:
    """The broker's is the same whoever reads; it is asked for by its name."""
    run = Run(records=1_000, seconds=1.0, cpu_s={"broker": 0.5, "worker": 0.01, "learner": 0.02}, traces_share=0.5)

    assert run.cpu_us() == pytest.approx(60.0)
    assert run.cpu_us("worker") == pytest.approx(20.0)
    assert run.cpu_us("broker") == pytest.approx(1_000.0)


def test_a_contestant_says_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    """Without its last word the run would last until its time is up."""
    clock = Clock(3)

    for _ in range(3):
        clock.one()

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["records"] == 3


def test_a_partition_without_a_broker_can_be_recovered() -> None:
    """The simulated changelog must hold what a broker's would: else its figures are of something else."""
    partition = Partition(horizon=500)
    for chunk in chunks(standing(SCENARIOS["8x6"], 1_000, per_s=50.0), 30):
        partition.fold(chunk)
        partition.checkpoint()

    state, _ = recover(partition.parts, number=0, spec=partition.spec)

    assert state.canonical() == partition.state.canonical()


def test_batches_hold_all_records_in_order() -> None:
    """A batch that is full is sent, and the record that found no room begins the next."""

    class TwoFit:
        def __init__(self) -> None:
            self.items: list[bytes] = []

        def append(self, *, key: bytes, value: bytes, timestamp: None) -> bool | None:
            if len(self.items) == 2:
                return None
            self.items.append(value)
            return True

        def close(self) -> None:
            """Take no more."""

    producer = argparse.Namespace(create_batch=TwoFit)

    batches = list(fill._batches(producer, [(b"k", b"%d" % number) for number in range(5)]))  # type: ignore[arg-type]

    assert [batch.items for batch in batches] == [[b"0", b"1"], [b"2", b"3"], [b"4"]]  # type: ignore[attr-defined]
