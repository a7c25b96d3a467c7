"""`LearningOrchestrator`: the seed's results, and what it left behind on a reject."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from stream.learning import LearnedRouterPolicy, LearningOrchestrator, LoRATrainingConfig, StepType, Trace, TraceStep

MATH, SHORT = "solve x + 1 = 2", "hello"


def trace(agent: str = "a", query: str = SHORT, *, tools: tuple[str, ...] = ("sql",), result: str = "done", outcome: str = "success", feedback: float = 0.9) -> Trace:
    steps = [TraceStep(StepType.TOOL_CALL, 0.0, input={"tool": name}, output={"success": True}) for name in tools]
    return Trace(query=query, agent=agent, model="m", result=result, outcome=outcome, feedback=feedback, steps=steps)


class Store:
    def __init__(self, *traces: Trace) -> None:
        self.traces, self.asked = list(traces), list[dict[str, Any]]()

    def list_traces(self, *, limit: int = 100, **scope: Any) -> list[Trace]:
        self.asked.append(scope)
        return [each for each in self.traces if each.agent == scope.get("agent", each.agent)][:limit]


Make = Callable[..., LearningOrchestrator]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    return tmp_path / "configs"


@pytest.fixture
def make(folder: Path) -> Make:
    def made(*traces: Trace, **given: Any) -> LearningOrchestrator:
        defaults: dict[str, Any] = {"trace_store": Store(*(traces or (trace(),))), "config_dir": folder}
        return LearningOrchestrator(**defaults | given)

    return made


def scripted(*scores: Any) -> MagicMock:
    return MagicMock(side_effect=list(scores))


def live(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tools(folder: Path, agent: str) -> list[str]:
    return list(tomllib.loads((folder / f"{agent}.toml").read_text())["agent"]["tools"])


def test_no_data_is_skipped(make: Make) -> None:
    result = make(trace_store=Store()).run()
    assert (result["status"], result["reason"], "accepted" in result) == ("skipped", "no training data available", False)
    assert [result[name] for name in ("sft_pairs", "routing_classes", "agent_classes")] == [0, 0, 0]
    assert isinstance(result["timestamp"], float)


def test_without_an_evaluator_everything_is_accepted(make: Make, folder: Path) -> None:
    result = make(trace(), trace("b", MATH, tools=("calculator",))).run()
    assert (result["status"], result["accepted"], result["routing_updated"], result["agent_configs_evolved"], result["lora_training"]) == ("completed", True, True, True, None)
    assert [result[name] for name in ("sft_pairs", "routing_classes", "agent_classes")] == [2, 2, 2]
    assert (tools(folder, "a"), tools(folder, "b")) == (["sql"], ["calculator"])
    assert not {"baseline_score", "post_score", "improvement", "reason"} & result.keys()


def test_gain_of_one_number_is_accepted(make: Make, folder: Path) -> None:
    evaluate = scripted(0.5, 0.7)
    result = make(eval_fn=evaluate).run()
    assert (result["baseline_score"], result["post_score"], result["accepted"], result["status"]) == (0.5, 0.7, True, "completed")
    assert result["improvement"] == pytest.approx(0.2)
    assert evaluate.call_args_list == [((), {}), ((), {})]
    assert tools(folder, "a") == ["sql"]


@pytest.mark.parametrize(("before", "after"), [(0.70, 0.72), (0.80, 0.82), (0.3, 0.32)])
def test_gain_of_exactly_the_threshold_is_accepted(make: Make, before: float, after: float) -> None:
    """In floats .82 - .80 is below .02, and the seed refuses it."""
    assert make(eval_fn=scripted(before, after)).run()["accepted"]


def test_reject_changes_no_byte(make: Make, folder: Path) -> None:
    """W-10: the seed leaves the evolved configuration live, the prompt wiped, the temperature reset."""
    (folder / "a.toml").write_text('[agent]\ntools = ["web"]\nsystem_prompt = "mine"\ntemperature = 0.9\n')
    before = live(folder)
    seen: list[dict[str, bytes]] = []
    scores = iter([0.8, 0.1])

    def evaluate() -> float:
        seen.append(live(folder))
        return next(scores)

    result = make(eval_fn=evaluate).run()
    assert (result["status"], result["accepted"], result["reason"]) == ("rejected", False, "eval improvement -0.7000 below threshold 0.02")
    assert seen == [before, before]
    assert live(folder) == before
    assert [each["status"] for each in result["candidates"]] == ["discarded"]


def test_evaluator_is_handed_the_staged_folder(make: Make, folder: Path) -> None:
    """W-07, W-15: the seed's evaluator sees only what is live, which is already the candidate."""
    seen: list[tuple[str, list[str]]] = []

    def evaluate(staged: Path) -> float:
        found = sorted(path.name for path in staged.glob("*.toml"))
        seen.append((str(staged), found))
        return float(len(found))

    result = make(eval_fn=evaluate).run()
    assert [names for _, names in seen] == [[], ["a.toml"]]
    assert all(not Path(name).exists() and not Path(name).is_relative_to(folder) for name, _ in seen)
    assert (result["accepted"], tools(folder, "a")) == (True, ["sql"])


def test_evaluator_without_a_parameter_finds_the_folder(make: Make) -> None:
    """W-07: a function that takes nothing can ask for what is staged."""
    seen: list[list[str]] = []

    def evaluate() -> float:
        assert orchestrator.staged is not None
        seen.append(sorted(path.name for path in orchestrator.staged.glob("*.toml")))
        return float(len(seen))

    orchestrator = make(eval_fn=evaluate)
    orchestrator.run()
    assert (seen, orchestrator.staged) == ([[], ["a.toml"]], None)


def test_evaluator_with_values_of_its_own_is_called_with_nothing(make: Make) -> None:
    """As the seed calls it, also where a default argument carries its state."""
    scores = [0.5, 0.7]
    assert make(eval_fn=lambda left=scores: left.pop(0)).run()["post_score"] == 0.7


def test_candidates_stand_each_for_itself(make: Make, folder: Path) -> None:
    """W-16: the seed accepts or rejects all changes as one."""

    def evaluate(staged: Path) -> float:
        return 0.5 + 0.2 * (staged / "a.toml").exists() - 0.3 * (staged / "b.toml").exists()

    result = make(trace("a"), trace("b", MATH), eval_fn=evaluate).run()
    assert {each["agent"]: each["status"] for each in result["candidates"]} == {"a": "promoted", "b": "discarded"}
    assert (result["accepted"], result["post_score"], sorted(path.name for path in folder.glob("*.toml"))) == (True, 0.7, ["a.toml"])
    assert "-0.3000 below threshold" in result["candidates"][1]["reason"]


def test_scores_of_samples_go_through_the_gate(make: Make, folder: Path) -> None:
    """W-14: 3 of 50 samples won (a point gain of .06 > .02) prove nothing, and the seed accepts it; 30 of 50 without a loss prove it."""
    few = {str(number): float(number < 3) for number in range(50)}
    many = {str(number): float(number < 30) for number in range(50)}
    none = dict.fromkeys(few, 0.0)
    refused = make(eval_fn=scripted(none, few)).run()
    assert (refused["status"], live(folder), refused["improvement"]) == ("rejected", {}, pytest.approx(0.06))
    assert make(eval_fn=scripted(none, many)).run()["accepted"]


@pytest.mark.parametrize("scores", [(0.5, RuntimeError("boom")), (RuntimeError("boom"),), (0.5, "much"), (0.5, float("nan")), (0.5, {"a": 0.5})])
def test_evaluation_that_fails_changes_nothing(make: Make, folder: Path, scores: tuple[Any, ...]) -> None:
    """W-17: the seed's second evaluation raises out of `run` with everything already changed."""
    result = make(eval_fn=scripted(*scores)).run()
    assert (result["status"], result["accepted"], bool(result["reason"]), live(folder)) == ("rejected", False, True, {})


def test_one_agent_is_learned_for_alone(make: Make, folder: Path) -> None:
    """W-12: the seed rewrites B when asked to learn for A."""
    make(trace("a"), *[trace("b", tools=("web",), feedback=1.0)] * 5).run(agent_id="a")
    assert (sorted(path.name for path in folder.glob("*.toml")), tools(folder, "a")) == (["a.toml"], ["sql"])


def test_agent_of_several_classes_keeps_the_tools_of_all(make: Make, folder: Path) -> None:
    """W-13: the seed writes a file a class, and the last, `short`, stays; three cycles with nothing new leave 14 versions."""
    orchestrator = make(trace("a", MATH, tools=("calculator",)), trace("a", SHORT), trace("a", SHORT))
    for _ in range(3):
        orchestrator.run()
    assert tools(folder, "a") == ["sql", "calculator"]
    assert list((folder / ".history").glob("*.toml")) == []


def test_agent_has_no_tools_of_another(make: Make, folder: Path) -> None:
    make(trace("a", feedback=1.0), trace("b", tools=("web",), feedback=0.8)).run()
    assert (tools(folder, "a"), (folder / "b.toml").exists()) == (["sql"], False)


def test_hand_written_settings_survive(make: Make, folder: Path) -> None:
    """W-38: the seed's cycles reset prompt and temperature."""
    (folder / "a.toml").write_text('[agent]\ntools = ["web"]\nsystem_prompt = "mine" # keep\ntemperature = 0.9\n')
    make().run()
    assert (folder / "a.toml").read_text() == '[agent]\ntools = ["sql"]\nsystem_prompt = "mine" # keep\ntemperature = 0.9\nname = "a"\nmax_turns = 5\n'


def test_change_made_during_the_evaluation_is_not_lost(make: Make, folder: Path) -> None:
    """W-15: nothing is promoted over what somebody wrote meanwhile."""
    (folder / "a.toml").write_text('[agent]\ntools = ["web"]\n')

    def evaluate(staged: Path) -> float:
        if is_candidate := "sql" in (staged / "a.toml").read_text():
            (folder / "a.toml").write_text("# by hand\n")
        return float(is_candidate)

    result = make(eval_fn=evaluate).run()
    assert (folder / "a.toml").read_text() == "# by hand\n"
    assert "has changed" in result["candidates"][0]["reason"]


def test_name_that_is_no_files_stops_no_other(make: Make, tmp_path: Path, folder: Path) -> None:
    result = make(trace("../escape"), trace("b", MATH)).run()
    assert {each["agent"]: each["status"] for each in result["candidates"]} == {"../escape": "discarded", "b": "promoted"}
    assert [path.name for path in tmp_path.rglob("*.toml")] == ["b.toml"]


def test_analysis_that_raises_is_told(make: Make, folder: Path) -> None:
    """W-17: what the evolver makes of odd traces ends no cycle."""
    orchestrator = make()
    orchestrator._evolver.analyze = MagicMock(side_effect=RuntimeError("odd"))  # type: ignore[method-assign]
    result = orchestrator.run()
    assert (result["status"], result["agent_configs_evolved"], result["analysis_error"], live(folder)) == ("completed", False, "RuntimeError: odd", {})


def test_version_says_where_it_comes_from(make: Make, folder: Path) -> None:
    """W-39: cycle, traces, changes and verdict stand beside the version."""
    orchestrator = make(eval_fn=scripted(0.5, 0.7), clock=lambda: 7.0)
    orchestrator.run()
    told = orchestrator._evolver.provenance("a", 1)
    assert (told["traces"], told["at"], told["verdict"]) == (1, 7.0, "eval improvement 0.2000 reaches threshold 0.02")
    assert told["cycle"].startswith("library-")


def test_router_learns_what_was_mined(make: Make) -> None:
    """W-11: the seed says `routing_updated`, and updates nothing."""
    router = LearnedRouterPolicy()
    result = make(*[trace()] * 5, router=router).run()
    assert (result["routing"]["short"]["best_model"], router.policy_map) == ("m", {"short": "m"})
    untouched = LearnedRouterPolicy()
    make(*[trace()] * 5, router=untouched, eval_fn=scripted(0.5, 0.1)).run()
    assert untouched.policy_map == {}


def test_store_is_read_once(folder: Path) -> None:
    """W-20: the seed lists the whole store four times a cycle."""
    store = Store(trace("a"), trace("b", MATH))
    LearningOrchestrator(trace_store=store, config_dir=folder).run()
    assert store.asked == [{}]


def test_store_may_be_a_mock(folder: Path) -> None:
    store = MagicMock()
    store.list_traces.return_value = [trace()]
    assert LearningOrchestrator(trace_store=store, config_dir=str(folder)).run()["status"] == "completed"


def test_adapter_needs_enough_pairs(make: Make) -> None:
    assert make(lora_config=LoRATrainingConfig()).run()["lora_training"] is None


def test_without_torch_training_is_skipped(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.training.HAS_TORCH", False)
    result = make(lora_config=LoRATrainingConfig(), min_sft_pairs=1).run()
    assert (result["lora_training"]["status"], result["status"]) == ("skipped", "completed")


def test_training_that_fails_ends_no_cycle(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = MagicMock(side_effect=[MagicMock(train=MagicMock(side_effect=RuntimeError("no memory"))), MagicMock(train=MagicMock(return_value={"status": "completed"}))])
    monkeypatch.setattr("stream.training.HAS_TORCH", True)
    monkeypatch.setattr("stream.training.LoRATrainer", trained)
    orchestrator = make(lora_config="config", min_sft_pairs=1, model_name="tiny")
    assert orchestrator.run()["lora_training"] == {"status": "error", "reason": "no memory"}
    assert orchestrator.run()["lora_training"] == {"status": "completed"}
    assert trained.call_args == (("config",), {"model_name": "tiny"})
