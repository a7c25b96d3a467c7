"""The learning library: usable by itself, without Kafka or Faust. Its users know these names from the library that it carries over."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stream.learning.analyzer import RouteStats, StepTypeStats, ToolStats, TraceAnalyzer, TraceSummary
from stream.learning.context import ComplexityQueryAnalyzer, DefaultQueryAnalyzer, build_routing_context
from stream.learning.contracts import (
    AgentLearningPolicy,
    IntelligenceLearningPolicy,
    LearningPolicy,
    QueryAnalyzer,
    RewardFunction,
    RouterPolicy,
    RoutingContext,
)
from stream.learning.evolving import AgentConfigEvolver, Suggestion, TrainingDataMiner
from stream.learning.heuristic_router import CapacityRouter, HeuristicRouter
from stream.learning.learned_router import LearnedRouterPolicy
from stream.learning.orchestrating import LearningOrchestrator
from stream.learning.registry import LearningRegistry, ModelRegistry, ModelSpec, RegistryBase, RouterPolicyRegistry
from stream.learning.reward import HeuristicRewardFunction
from stream.learning.trace import StepType, Trace, TraceStep
from stream.learning.trace_store import TraceStore
from stream.reading.complexity import (
    ComplexityResult,
    adjust_tokens_for_model,
    is_named_as_thinking_model,
    is_thinking_model,
    score_complexity,
)
from stream.reading.query_class import classify_query

if TYPE_CHECKING:
    from stream.training import HAS_TORCH, LoRATrainer, LoRATrainingConfig

_OF_TRAINING = ("HAS_TORCH", "LoRATrainer", "LoRATrainingConfig")
"""Taken from `stream.training` when they are asked for: the rest of this package knows nothing of training."""

__all__ = [
    "HAS_TORCH",
    "AgentConfigEvolver",
    "AgentLearningPolicy",
    "CapacityRouter",
    "ComplexityQueryAnalyzer",
    "ComplexityResult",
    "DefaultQueryAnalyzer",
    "HeuristicRewardFunction",
    "HeuristicRouter",
    "IntelligenceLearningPolicy",
    "LearnedRouterPolicy",
    "LearningOrchestrator",
    "LearningPolicy",
    "LearningRegistry",
    "LoRATrainer",
    "LoRATrainingConfig",
    "ModelRegistry",
    "ModelSpec",
    "QueryAnalyzer",
    "RegistryBase",
    "RewardFunction",
    "RouteStats",
    "RouterPolicy",
    "RouterPolicyRegistry",
    "RoutingContext",
    "StepType",
    "StepTypeStats",
    "Suggestion",
    "ToolStats",
    "Trace",
    "TraceAnalyzer",
    "TraceStep",
    "TraceStore",
    "TraceSummary",
    "TrainingDataMiner",
    "adjust_tokens_for_model",
    "build_routing_context",
    "classify_query",
    "ensure_registered",
    "is_named_as_thinking_model",
    "is_thinking_model",
    "score_complexity",
]


def ensure_registered() -> None:
    """Register the router policies by their names, where they are not; also after a `clear()`."""
    for name, policy in (("heuristic", HeuristicRouter), ("learned", LearnedRouterPolicy)):
        if not RouterPolicyRegistry.contains(name):
            RouterPolicyRegistry.register_value(name, policy)


ensure_registered()


def __getattr__(name: str) -> Any:
    if name not in _OF_TRAINING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("stream.training"), name)
