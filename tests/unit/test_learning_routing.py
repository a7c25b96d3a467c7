"""The routing names of `stream.learning` do what the library that they come from does; where they do not, docs/differences.md says so."""

from __future__ import annotations

import json
import random
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from stream.learning import (
    AgentLearningPolicy,
    CapacityRouter,
    ComplexityQueryAnalyzer,
    DefaultQueryAnalyzer,
    HeuristicRewardFunction,
    HeuristicRouter,
    IntelligenceLearningPolicy,
    LearnedRouterPolicy,
    LearningPolicy,
    ModelRegistry,
    ModelSpec,
    QueryAnalyzer,
    RewardFunction,
    RouterPolicy,
    RouterPolicyRegistry,
    RoutingContext,
    StepType,
    Trace,
    TraceAnalyzer,
    TraceStep,
    adjust_tokens_for_model,
    build_routing_context,
    classify_query,
    ensure_registered,
    is_named_as_thinking_model,
    is_thinking_model,
    score_complexity,
)

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "seed-goldens.json"
"""Answers of the library itself, where they are at hand."""


class ListStore:
    """A store that is nothing but a list, newest first."""

    def __init__(self, traces: list[Trace]) -> None:
        self.traces = traces
        self.asked: list[dict[str, Any]] = []

    def list_traces(self, *, limit: int = 100, **bounds: Any) -> list[Trace]:
        self.asked.append({"limit": limit, **bounds})
        return self.traces[:limit]


@pytest.fixture
def models() -> Any:
    ModelRegistry.clear()
    for key, size in (("small", 3.0), ("large", 70.0), ("coder", 16.0)):
        ModelRegistry.register_value(key, ModelSpec(model_id=key, name=key, parameter_count_b=size, context_length=4096))
    yield ["small", "large", "coder"]
    ModelRegistry.clear()


# ---- complexity

SCORED = (
    ("", "short", 0.0, "trivial", 1024),
    ("x" * 49, "short", 0.06, "trivial", 1024),
    ("x" * 50, "general", 0.06, "trivial", 1024),
    ("x" * 100, "general", 0.12, "trivial", 1024),
    ("x" * 300, "general", 0.16, "simple", 2048),
    ("x" * 501, "long", 0.16, "simple", 2048),
    ("x" * 800, "long", 0.20, "simple", 2048),
    ("calculate 2+2", "math", 0.20, "simple", 2048),
    ("import os", "code", 0.175, "simple", 2048),
    ("Let me know", "short", 0.175, "simple", 2048),
    ("explain why", "short", 0.15, "simple", 2048),
    ("What is A? What is B?", "short", 0.135, "trivial", 1024),
    ("A? B? C? D?", "short", 0.15, "simple", 2048),
    ("create a logo", "short", 0.105, "trivial", 1024),
    ("additionally do this", "short", 0.26, "simple", 2048),
    ("step 3 failed", "short", 0.20, "simple", 2048),
    ("```py\nimport math\n``` then calculate the area", "code", 0.31, "moderate", 4096),
)
"""Query, class, score, tier, tokens: outputs of OpenJarvis at 620f20cc."""


@pytest.mark.parametrize(("query", "query_class", "score", "tier", "tokens"), SCORED)
def test_query_is_classified_and_scored_as_by_the_seed(query: str, query_class: str, score: float, tier: str, tokens: int) -> None:
    """The bounds of lengths, and one query for most signals."""
    result = score_complexity(query)

    assert classify_query(query) == query_class
    assert (result.score, result.tier, result.suggested_max_tokens) == (score, tier, tokens)


@pytest.mark.skipif(not GOLDENS.exists(), reason="needs the seed's answers beside the checkout")
def test_all_of_the_seeds_answers_are_ours() -> None:
    """Class, score, tier, tokens and every signal of 47 queries; thinking models; rewards."""
    goldens = json.loads(GOLDENS.read_text(encoding="utf-8"))
    for golden in goldens["classify_and_complexity"]:
        result = score_complexity(golden["query"])
        assert classify_query(golden["query"]) == golden["query_class"]
        assert (result.score, result.tier, result.suggested_max_tokens, result.signals) == (golden["score"], golden["tier"], golden["max_tokens"], golden["signals"])
    assert {name: is_thinking_model(name) for name in goldens["thinking"]} == goldens["thinking"]
    for golden in goldens["reward"]:
        expected = golden.pop("reward")
        assert HeuristicRewardFunction().compute(RoutingContext(), "m", "", **golden) == pytest.approx(expected, abs=1e-12)


SLOW = {
    "has_multi_step": re.compile(r"\bthen\b.*\bthen\b|\bfirst\b.*\bnext\b|\bstep\s*\d|\b(?:and also|additionally|furthermore)\b|\d+\.\s", re.IGNORECASE | re.DOTALL),
    "has_creative": re.compile(
        r"\bwrite\b.*\b(?:essay|story|article|report|poem)\b|\bgenerate\b.*\b(?:code|script|program)\b|\b(?:create|design|draft|compose)\b", re.IGNORECASE
    ),
}
"""One pattern each, as the signals are described; their time grows with the square of a hostile query's length."""


def test_signals_are_those_of_one_pattern_each() -> None:
    """Looked for word by word, they are what one regular expression finds."""
    rnd = random.Random(1)
    words = ["then", "First", "next", "step", "3", "2. ", "write", "an", "essay", "generate", "code", "\n", "create", "authentic", "nextto", "step 4", "a\nreport", "POEM"]
    for _ in range(3_000):
        query = " ".join(rnd.choices(words, k=rnd.randrange(7)))
        signals = score_complexity(query).signals
        assert {name: bool(pattern.search(query)) for name, pattern in SLOW.items()} == {name: signals[name] for name in SLOW}, query


@pytest.mark.parametrize("piece", ["first ", "write ", "\n", "1", "for ", "{ ", "`", "if ", "- ", "why "])
def test_a_megabyte_of_hostile_text_is_scored(piece: str) -> None:
    """A query is untrusted: a pattern whose time grows with the square of the length would keep this test busy for hours."""
    assert score_complexity(piece * (1_000_000 // len(piece))).signals["length"] == 1.0


def test_thinking_models_get_twice_the_tokens() -> None:
    """And a name that merely ends like one counts, unless it is asked for by the other name."""
    assert (adjust_tokens_for_model(1024, "qwq-32b"), adjust_tokens_for_model(1024, "gpt-4o"), adjust_tokens_for_model(1024, None)) == (2048, 1024, 1024)
    assert (is_thinking_model("foo3-mini"), is_named_as_thinking_model("foo3-mini"), is_named_as_thinking_model("openai/o3-mini")) == (True, False, True)


def test_analyzers_make_a_context() -> None:
    """What is no number or no text is taken for none."""
    context = ComplexityQueryAnalyzer().analyze("explain why", urgency="soon", model=7)

    assert context == build_routing_context("explain why")
    assert (context.query_length, context.has_reasoning, context.urgency, context.metadata["complexity_tier"]) == (11, True, 0.5, "simple")
    assert DefaultQueryAnalyzer().analyze("hi", urgency=0.9, model="qwq-32b").suggested_max_tokens == 2048


@pytest.mark.parametrize("contract", [RouterPolicy, QueryAnalyzer, RewardFunction, LearningPolicy, IntelligenceLearningPolicy, AgentLearningPolicy])
def test_contracts_cannot_be_made(contract: type) -> None:
    """They say what others do."""
    with pytest.raises(TypeError):
        contract()


def test_learning_policies_say_what_they_learn_about() -> None:
    """Callers tell them apart by it."""
    assert [policy.target for policy in (LearningPolicy, IntelligenceLearningPolicy, AgentLearningPolicy, LearnedRouterPolicy)] == ["", "intelligence", "agent", "intelligence"]


def test_model_is_registered_with_all_that_its_catalogue_says() -> None:
    """What the router does not look at must not keep a model out."""
    ModelRegistry.clear()
    spec = ModelSpec("m", "M", 8.0, 4096, supported_engines=("ollama",), provider="local", min_vram_gb=6.0, requires_api_key=False, quantization="q4", metadata={"a": 1})

    ModelRegistry.register_value("m", spec)

    assert (ModelRegistry.get("m"), ModelRegistry.items()) == (spec, (("m", spec),))
    ModelRegistry.clear()


# ---- heuristic router

ROUTED = (
    ({}, "small"),
    ({"urgency": 0.8, "complexity_score": 0.4}, "large"),
    ({"urgency": 0.81, "has_code": True}, "small"),
    ({"has_code": True}, "coder"),
    ({"complexity_score": 0.20}, "small"),
    ({"complexity_score": 0.21}, "large"),
    ({"complexity_score": 0.55}, "large"),
    ({"complexity_score": 0.3, "has_math": True}, "large"),
    ({"complexity_score": 0.2, "has_math": True}, "small"),
    ({"complexity_score": 0.1, "has_reasoning": True}, "small"),
)
"""Context and choice; the default is the large model: outputs of OpenJarvis at 620f20cc."""


@pytest.mark.parametrize("router", [HeuristicRouter, CapacityRouter])
@pytest.mark.parametrize(("context", "expected"), ROUTED)
def test_router_goes_by_the_seeds_rules(models: list[str], router: Any, context: dict[str, Any], expected: str) -> None:
    """Where all sizes are registered both routers choose alike."""
    assert router(models, default_model="large", fallback_model="small").select_model(RoutingContext(**context)) == expected


def test_router_without_candidates_takes_the_default() -> None:
    """Then the fallback, then nothing."""
    ModelRegistry.clear()
    context = RoutingContext()
    assert HeuristicRouter([], default_model="d", fallback_model="f").select_model(context) == "d"
    assert HeuristicRouter(fallback_model="f").select_model(context) == "f"
    assert HeuristicRouter().select_model(context) == ""


def test_router_knows_only_registered_sizes_and_its_better_those_in_names() -> None:
    """W-30: of models that are not registered the seed's rules take the first; under its own name the router reads 8b and 70b."""
    ModelRegistry.clear()
    models, hard = ["llama-3.1-8b", "llama-3.1-70b-instruct", "llama-3.2-1b"], RoutingContext(complexity_score=0.9)

    assert (HeuristicRouter(models).select_model(hard), HeuristicRouter(models).select_model(RoutingContext())) == (models[0], models[0])
    assert (CapacityRouter(models).select_model(hard), CapacityRouter(models).select_model(RoutingContext())) == (models[1], models[2])


def test_capacity_router_counts_active_parameters_and_context(models: list[str]) -> None:
    """W-31: a mixture of experts is cheap, and a context that is too short is no choice while there is another."""
    ModelRegistry.register_value("mixture", ModelSpec("mixture", parameter_count_b=26.0, active_parameter_count_b=2.0, context_length=131_072))

    assert HeuristicRouter([*models, "mixture"]).select_model(RoutingContext()) == "small"
    assert CapacityRouter([*models, "mixture"]).select_model(RoutingContext()) == "mixture"
    assert CapacityRouter([*models, "mixture"]).select_model(RoutingContext(complexity_score=0.9)) == "large"
    assert CapacityRouter([*models, "mixture"]).select_model(RoutingContext(complexity_score=0.9, query_length=20_000)) == "mixture"
    assert CapacityRouter(models).select_model(RoutingContext(complexity_score=0.9, query_length=20_000)) == "large"


def test_available_models_are_a_copy(models: list[str]) -> None:
    """Nobody changes a router by what it answered."""
    router = HeuristicRouter(models)
    router.available_models.clear()
    assert router.available_models == models


# ---- registries


def test_registries_refuse_what_is_there_and_what_is_not() -> None:
    """Their words are what callers look for; each has entries of its own, and can be filled again."""
    ensure_registered()
    assert RouterPolicyRegistry.get("heuristic") is HeuristicRouter
    with pytest.raises(ValueError, match="already has an entry"):
        RouterPolicyRegistry.register_value("learned", object())
    with pytest.raises(KeyError, match="does not have an entry"):
        RouterPolicyRegistry.get("nobody")
    RouterPolicyRegistry.clear()
    assert RouterPolicyRegistry.keys() == ()
    ensure_registered()
    ensure_registered()
    assert sorted(RouterPolicyRegistry.keys()) == ["heuristic", "learned"]
    assert not ModelRegistry.contains("heuristic")
    assert isinstance(RouterPolicyRegistry.create("learned", default_model="d"), LearnedRouterPolicy)


def test_registry_creates_only_what_can_be_called() -> None:
    """A model's record is no class."""
    ModelRegistry.clear()
    ModelRegistry.register_value("m", ModelSpec("m"))
    with pytest.raises(TypeError, match="only what can be called"):
        ModelRegistry.create("m")
    ModelRegistry.clear()


# ---- reward


def test_reward_refuses_to_divide_by_nothing() -> None:
    """The seed's divided by zero at the first answer."""
    with pytest.raises(ValueError, match="above 0"):
        HeuristicRewardFunction(max_cost=0.0)
    assert HeuristicRewardFunction().compute(RoutingContext(), "m", "") == pytest.approx(0.85)


# ---- learned router


def rated(query: str, model: str, outcome: str | None = "success", feedback: float | None = None) -> Trace:
    return Trace(query=query, model=model, outcome=outcome, feedback=feedback)


def test_learned_router_takes_the_best_composite_of_a_class() -> None:
    """Of `code`: a has .6·1 + .4·.5 = .8, unrated; b .6·.5 + .4·1 = .7. Below `min_samples` the default stays."""
    store = ListStore([rated("import a", "a"), rated("import a", "a"), rated("import b", "b", feedback=1.0), rated("import b", "b", "failure", 1.0), rated("hi", "c")])
    policy = LearnedRouterPolicy(TraceAnalyzer(store), default_model="d")
    policy.min_samples = 4
    answer = policy.update_from_traces(since=1.0)

    assert answer == {"updated": True, "query_classes": 2, "total_traces": 5, "changes": {"code": {"old": None, "new": "a"}, "short": {"old": None, "new": "c"}}}
    assert store.asked == [{"limit": 10_000, "since": 1.0}]
    assert policy.select_model(RoutingContext(query="import x")) == "a"
    assert policy.select_model(RoutingContext(query="hello")) == "d"
    policy.policy_map.clear()
    assert policy.policy_map == {"code": "a", "short": "c"}


def test_learned_router_says_why_it_did_not_learn() -> None:
    """Without an analyser, without traces, and where the store fails."""

    class BrokenStore:
        def list_traces(self, **_: Any) -> list[Trace]:
            raise OSError("disk on fire")

    assert "error" in LearnedRouterPolicy().update_from_traces()
    assert LearnedRouterPolicy(TraceAnalyzer(ListStore([]))).update_from_traces() == {"updated": False, "reason": "no traces"}
    assert LearnedRouterPolicy().update(BrokenStore()) == {"updated": False, "reason": "disk on fire"}


def test_update_is_followed_by_what_is_chosen() -> None:
    """W-32, W-34: the seed filled the map and went on with the default, and read the newest hundred only."""
    store = ListStore([rated("import a", "a") for _ in range(150)])
    policy = LearnedRouterPolicy(default_model="d")
    answer = policy.update(store)

    assert answer == {"updated": True, "changes": {"code": "a"}, "policy_map": {"code": "a"}}
    assert store.asked == [{"limit": 10_000}]
    assert policy.select_model(RoutingContext(query="import x")) == "a"


def test_update_wants_enough_traces_of_a_model() -> None:
    """One lucky trace beats no thousand."""
    store = ListStore([rated("import a", "lucky", feedback=1.0), *[rated("import a", "steady", feedback=0.9) for _ in range(5)]])
    assert LearnedRouterPolicy().update(store)["policy_map"] == {"code": "steady"}


def test_observing_learns_from_successes_and_goes_on_learning() -> None:
    """W-33: the seed installed whoever came first, even with a failure, and never changed its mind after five."""
    policy = LearnedRouterPolicy(default_model="d")
    policy.observe("import a", "a", "failure", None)
    assert policy.policy_map == {}
    policy.observe("import a", "b", "success", None)
    assert policy.policy_map == {"code": "b"}
    for _ in range(10):
        policy.observe("import a", "b", "failure", 0.0)
    policy.observe("import a", "c", "success", 0.9)
    assert policy.select_model(RoutingContext(query="import x")) == "c"


def test_one_good_observation_appears_in_the_map() -> None:
    """What callers of the seed hold on to."""
    policy = LearnedRouterPolicy(default_model="default")
    policy.observe("hello", "fast-model", "success", 0.9)
    assert policy.policy_map == {"short": "fast-model"}


def test_observing_from_many_threads_loses_nothing() -> None:
    """W-33: counts add up."""
    policy = LearnedRouterPolicy()
    policy.min_samples = 4_000
    threads = [threading.Thread(target=lambda: [policy.observe("import a", "a", "success", 1.0) for _ in range(1_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert policy.select_model(RoutingContext(query="import x")) == "a"


def test_learned_router_keeps_to_what_is_available() -> None:
    """Default, fallback, first."""
    context = RoutingContext(query="hello")
    assert LearnedRouterPolicy(default_model="missing", fallback_model="f", available_models=["x", "f"]).select_model(context) == "f"
    assert LearnedRouterPolicy(default_model="missing", available_models=["x", "f"]).select_model(context) == "x"
    assert LearnedRouterPolicy(default_model="d").select_model(context) == "d"


# ---- analyser


def test_analyzer_sums_up_by_hand() -> None:
    """Two traces: 2 and 4 s, 10 and 30 tokens, one success of one known outcome; tool `calc` twice, once with success."""
    first = Trace(query="def f", agent="a", model="m", outcome="success", feedback=0.5, total_tokens=10, total_latency_seconds=2.0)
    first.steps = [
        TraceStep(StepType.TOOL_CALL, 0.0, 1.0, input={"tool": "calc"}, output={"success": True}),
        TraceStep(StepType.GENERATE, 1.0, 3.0, output={"prompt_tokens": 7, "completion_tokens": 3}, metadata={"energy_joules": 5.0}),
    ]
    second = Trace(query="hello", agent="a", model="m", total_tokens=30, total_latency_seconds=4.0, messages=[{"role": "user"}])
    second.steps = [TraceStep(StepType.TOOL_CALL, 0.0, 2.0, input={"tool": "calc"})]
    analyzer = TraceAnalyzer(ListStore([first, second]))
    summary, (route,), (tool,) = analyzer.summary(), analyzer.per_route_stats(), analyzer.per_tool_stats()

    assert (summary.total_traces, summary.total_steps, summary.avg_steps_per_trace, summary.avg_latency, summary.avg_tokens, summary.success_rate) == (2, 3, 1.5, 3.0, 20.0, 1.0)
    assert (summary.step_type_distribution, summary.total_energy_joules, summary.total_generate_energy_joules) == ({"tool_call": 2, "generate": 1}, 5.0, 5.0)
    assert (summary.step_type_stats["tool_call"].median_duration, summary.step_type_stats["tool_call"].std_duration) == (1.5, pytest.approx(0.5**0.5))
    assert (summary.step_type_stats["generate"].avg_input_tokens, summary.step_type_stats["generate"].std_input_tokens) == (7.0, 0.0)
    assert (route.model, route.agent, route.count, route.success_rate, route.avg_feedback) == ("m", "a", 2, 1.0, 0.5)
    assert (tool.tool_name, tool.call_count, tool.avg_latency, tool.success_rate) == ("calc", 2, 1.5, 0.5)
    assert analyzer.traces_for_query_type(has_code=True) == [first]
    assert analyzer.traces_for_query_type(min_length=5, max_length=5) == [first, second]
    exported = analyzer.export_traces(limit=1)
    assert (len(exported), "messages" in exported[0], exported[0]["steps"][0]["step_type"]) == (1, False, "tool_call")
    assert TraceAnalyzer(ListStore([])).summary().total_traces == 0


def test_trace_counts_the_steps_that_it_is_given() -> None:
    """And may be changed after it was made."""
    trace = Trace()
    trace.add_step(TraceStep(StepType.GENERATE, 0.0, 1.5, output={"tokens": 7}))
    trace.feedback = 0.5

    assert (len(trace.trace_id), trace.total_latency_seconds, trace.total_tokens, trace.steps[0].step_type == "generate") == (16, 1.5, 7, True)
