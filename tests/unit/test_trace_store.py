"""The store of traces: what is saved comes back, whole or not at all, whoever looks and whatever the text."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from stream.errors import NotOwnedError, TraceRefusedError
from stream.learning import StepType, Trace, TraceAnalyzer, TraceStep, TraceStore
from tests.unit.archive_support import Log, filled, no_archive_left_open  # noqa: F401 - a fixture


def some(number: int, **fields: object) -> Trace:
    return Trace(**{"trace_id": f"t{number}", "query": f"question {number}", "agent": "react", "model": "m", "started_at": float(number), **fields})  # type: ignore[arg-type]


def test_trace_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    """All sixteen fields, steps with their payloads, text of any script, after the file was closed and opened again."""
    trace = Trace(
        trace_id="t", query="Was ist 2+2? 🦊", agent="a", model="m", engine="e", result='"four"\n', outcome="success", feedback=0.123456789, started_at=1.5, ended_at=2.5,
        metadata={"source": "x", "nested": {"k": [1, None]}}, messages=[{"role": "user", "content": "hi"}],
    )  # fmt: skip
    trace.add_step(TraceStep(StepType.TOOL_CALL, 1.5, 0.25, {"tool": "calc", "arguments": {}}, {"success": True, "tokens": 7}, {"skill": "s"}))

    with TraceStore(tmp_path / "deep" / "traces.db") as store:
        store.save(trace)
    with TraceStore(str(tmp_path / "deep" / "traces.db")) as store:
        found = store.get("t")

    assert found == trace
    assert found is not None
    assert found.steps[0].step_type is StepType.TOOL_CALL


def test_saving_an_id_twice_is_refused_and_changes_nothing() -> None:
    """Callers of the library this carries over catch sqlite3.IntegrityError."""
    with TraceStore(":memory:") as store:
        store.save(some(1, result="first"))
        for _ in range(2):  # before and after the file was looked into
            with pytest.raises(sqlite3.IntegrityError):
                store.save(some(1, result="second"))
            assert store.count() == 1

        assert store.get("t1").result == "first"  # type: ignore[union-attr]


def test_a_trace_that_cannot_be_written_leaves_nothing_of_it(tmp_path: Path) -> None:
    """A payload without a form in JSON once left half a trace behind; now nothing, and the next one is saved as ever."""
    with TraceStore(tmp_path / "t.db") as store:
        with pytest.raises(TypeError):
            store.save(some(1, steps=[TraceStep(StepType.GENERATE, 1.0), TraceStep(StepType.GENERATE, 2.0, output={"x": object()})]))
        with pytest.raises(TraceRefusedError):
            store.save(some(1, trace_id=""))
        store.save(some(2))

        assert (store.count(), store.get("t1")) == (1, None)


def test_traces_are_listed_newest_first_and_filtered() -> None:
    """By when they started, whatever the order they were saved in; bounds are inclusive; unknown ids are None."""
    with TraceStore(":memory:") as store:
        for number in (3, 1, 5, 2, 4):
            store.save(some(number, agent="a" if number % 2 else "b", model=f"m{number % 3}", outcome="success" if number > 2 else None))

        def listed(**filters: object) -> list[str]:
            return [trace.trace_id for trace in store.list_traces(**filters)]  # type: ignore[arg-type]

        assert listed() == ["t5", "t4", "t3", "t2", "t1"]
        assert listed(limit=2) == ["t5", "t4"]
        assert listed(limit=0) == []
        assert listed(agent="a") == ["t5", "t3", "t1"]
        assert listed(model="m2", outcome="success") == ["t5"]
        assert listed(since=2.0, until=4.0) == ["t4", "t3", "t2"]
        assert store.get("t9") is None
        with pytest.raises(TypeError):
            store.list_traces("a")  # type: ignore[misc]


def test_search_takes_any_text_for_words_and_wants_all_of_them() -> None:
    """What is syntax of the full-text index elsewhere raised; here it is left out. Accents and case do not matter."""
    with TraceStore(":memory:") as store:
        store.save(some(1, query="What is 2+2?", result="foo-bar"))
        store.save(some(2, query="Where is the café?", agent="plan"))

        def found(text: str, **filters: object) -> list[str]:
            return [row["trace_id"] for row in store.search(text, **filters)]  # type: ignore[arg-type]

        assert found("what is 2+2?") == found("foo-bar") == found('"2') == ["t1"]
        assert found("is CAFE") == ["t2"]
        assert sorted(found("is")) == ["t1", "t2"]
        assert found("is", agent="plan") == ["t2"]
        assert found("is", limit=1) in (["t1"], ["t2"])
        assert found("") == found("?!") == found("is nowhere") == []
        store.save(some(3, query="saved after the first search"))
        assert found("after") == ["t3"]
        assert set(store.search("after")[0]) == {"trace_id", "query", "result", "agent", "model", "outcome", "started_at"}


def test_the_last_rating_counts_and_no_other_than_a_quality_is_taken() -> None:
    """A rating replaces the trace's own and the one before it; 42 was once taken."""
    with TraceStore(":memory:") as store:
        store.save(some(1, feedback=0.9))

        assert store.update_feedback("t1", 0.2)
        assert store.update_feedback("t1", 0.7)
        assert not store.update_feedback("unknown", 0.7)
        for score in (42.0, -0.1, float("nan")):
            with pytest.raises(ValueError, match="a rating is in"):
                store.update_feedback("t1", score)
        assert store.get("t1").feedback == 0.7  # type: ignore[union-attr]
        assert store.list_traces()[0].feedback == 0.7


def test_steps_of_unknown_type_do_not_keep_others_from_being_listed() -> None:
    """One writer's `plan` step once made every listing fail."""
    with TraceStore(":memory:") as store:
        store.save(some(1, steps=[TraceStep("plan", 1.0)]))  # type: ignore[arg-type]
        store.save(some(2))

        assert [trace.trace_id for trace in store.list_traces()] == ["t2", "t1"]
        assert store.get("t1").steps[0].step_type == "plan"  # type: ignore[union-attr]


def test_threads_may_save_and_read_at_once(tmp_path: Path) -> None:
    """Four writers of twenty-five traces each, with readers between: a hundred traces, none twice."""
    with TraceStore(tmp_path / "t.db") as store:

        def work(first: int) -> None:
            for number in range(first, first + 25):
                store.save(some(number))
                store.list_traces(limit=1)

        threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 100, 25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert store.count() == len(store.list_traces(limit=1_000)) == 100


async def test_store_works_inside_an_event_loop() -> None:
    """Synchronous as it is, it may be called from a coroutine."""
    with TraceStore(":memory:") as store:
        store.save(some(1))
        await asyncio.sleep(0)

        assert store.count() == 1


async def test_learners_archive_is_read_and_never_written(tmp_path: Path) -> None:
    """A learner's file is a view of its log: ratings by kind are there, and saving says why not."""
    log = Log()
    log.trace("t1", query="Sort a list", feedback=0.1, started_at=1.0)
    log.feedback("t1", 0.9)
    path = await filled(tmp_path, log)

    with TraceStore(path) as store:
        assert store.get("t1").feedback == 0.9  # type: ignore[union-attr]
        assert TraceAnalyzer(store).summary().total_traces == 1
        with pytest.raises(NotOwnedError, match="learner"):
            store.save(some(2))
        with pytest.raises(NotOwnedError, match="learner"):
            store.update_feedback("t1", 0.5)


def test_a_second_store_of_the_same_file_is_refused(tmp_path: Path) -> None:
    """Two writers would number their records alike; the one that came later is told who has it."""
    with TraceStore(tmp_path / "t.db"), pytest.raises(NotOwnedError, match="one writer"):
        TraceStore(tmp_path / "t.db")
