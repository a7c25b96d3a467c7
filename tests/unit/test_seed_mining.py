"""`TrainingDataMiner`: the seed's pairs."""

from __future__ import annotations

from stream.learning import StepType, Trace, TraceStep, TrainingDataMiner

MATH = "solve x + 1 = 2"


class Store:
    def __init__(self, *traces: Trace) -> None:
        self.traces, self.asked = list(traces), list[dict[str, object]]()

    def list_traces(self, **asked: object) -> list[Trace]:
        self.asked.append(asked)
        return self.traces


def trace(query: str = MATH, *, agent: str = "a", model: str = "m", result: str = "1", outcome: str | None = "success", feedback: float | None = 0.8, tools: str = "") -> Trace:
    steps = [TraceStep(StepType.TOOL_CALL, 0.0, input={"tool": name.strip("_")}) for name in tools.split()]
    return Trace(query=query, agent=agent, model=model, result=result, outcome=outcome, feedback=feedback, steps=steps)


def test_pairs_are_of_answers_that_succeeded_and_are_rated_well() -> None:
    """A failed, an unknown, an unrated and an ill-rated answer are none; the same answer counts once, the first in the store's order."""
    none = [trace(outcome="failure", feedback=1.0), trace(outcome=None), trace(feedback=None), trace(feedback=0.69), trace(feedback=float("nan"))]
    store = Store(trace(feedback=0.7), trace(feedback=0.9), *none)
    assert TrainingDataMiner(store).extract_sft_pairs() == [{"input": MATH, "output": "1", "query_class": "math", "model": "m", "feedback": 0.7}]


def test_agent_is_asked_for_only_where_one_is_named() -> None:
    store = Store()
    miner = TrainingDataMiner(store)
    assert (miner.extract_sft_pairs(), miner.extract_routing_pairs(agent="a"), miner.extract_agent_config_pairs()) == ([], {}, {})
    assert store.asked == [{"limit": 10_000}, {"limit": 10_000, "agent": "a"}, {"limit": 10_000}]


def test_routing_pairs_name_the_model_that_is_rated_best() -> None:
    """x: (.75 + 1) / 2 = .875, y: .75; the class: (.75 + 1 + .75) / 3."""
    (found,) = TrainingDataMiner(Store(trace(model="y", feedback=0.75), trace(model="x", feedback=0.75), trace(model="x", feedback=1.0))).extract_routing_pairs().items()
    models = {"y": {"avg_feedback": 0.75, "count": 1}, "x": {"avg_feedback": 0.875, "count": 2}}
    assert found == ("math", {"best_model": "x", "avg_feedback": 2.5 / 3, "sample_count": 3, "all_models": models})


def test_first_seen_wins_ties() -> None:
    found = TrainingDataMiner(Store(trace(model="y", agent="b"), trace(model="x", agent="a")))
    assert (found.extract_routing_pairs()["math"]["best_model"], found.extract_agent_config_pairs()["math"]["best_agent"]) == ("y", "b")


def test_agent_pairs_have_the_best_agents_tools_by_calls() -> None:
    store = Store(trace(agent="b", feedback=0.75, tools="web"), trace(tools="sql calc sql", feedback=1.0), trace(tools="new _", feedback=1.0))
    assert TrainingDataMiner(store).extract_agent_config_pairs() == {"math": {"best_agent": "a", "best_tools": ["sql", "calc", "new"], "avg_feedback": 2.75 / 3, "sample_count": 3}}


def test_class_with_too_few_answers_is_left_out() -> None:
    miner = TrainingDataMiner(Store(trace(), trace(), trace("hi")), min_samples_per_class=2)
    assert (list(miner.extract_routing_pairs()), list(miner.extract_agent_config_pairs())) == (["math"], ["math"])


def test_conversations_hold_the_best_answer_to_each_query_with_its_tools() -> None:
    """Of three answers to a query, written differently, the one rated .9; an unrated one that succeeded counts as 1; one that failed is none."""
    best = trace(" SOLVE x + 1 = 2 ", feedback=0.9, tools="sql", result="one")
    plain = trace("hi", feedback=None, result="hello")
    store = Store(trace(feedback=0.8), best, trace(feedback=0.7, result="2"), plain, trace("no", outcome="failure", feedback=0.9))

    rows = {row["trace_id"]: row for row in TrainingDataMiner(store).conversations()}

    assert set(rows) == {best.trace_id, plain.trace_id}
    assert [message["role"] for message in rows[best.trace_id]["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert rows[plain.trace_id]["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert (rows[best.trace_id]["score"], rows[plain.trace_id]["score"]) == (0.9, 1.0)


def test_of_equally_rated_answers_the_newest_stands() -> None:
    """Stores list the newest first."""
    newer, older = trace(result="new"), trace(result="old")

    (row,) = TrainingDataMiner(Store(newer, older)).conversations()

    assert row["trace_id"] == newer.trace_id


def test_preferences_hold_the_best_and_the_worst_answer() -> None:
    """With both ids; a query whose answers are all good, or all bad, has none."""
    good, bad = trace(feedback=0.9, result="1"), trace(outcome="failure", feedback=None, result="2")

    (pair,) = TrainingDataMiner(Store(good, trace(feedback=0.5, result="3"), bad, trace("hi"), trace("no", feedback=0.1))).preferences()

    assert (pair["chosen_trace_id"], pair["rejected_trace_id"]) == (good.trace_id, bad.trace_id)
    assert (pair["prompt"][0]["content"], pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (MATH, "1", "2")


def test_sides_of_the_split_share_no_query() -> None:
    """All sides together are everything."""
    miner = TrainingDataMiner(Store(*(trace(f"question {number}") for number in range(40))))

    sides = [{row["messages"][0]["content"] for row in miner.conversations(split=split)} for split in ("train", "tune", "test")]

    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == 40
