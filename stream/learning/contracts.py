"""What a policy, a reward and an analyser must do: the seed's protocols, by their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(slots=True)
class RoutingContext:
    """What is known of a query before a model is chosen.

    Attributes:
        query: its text.
        query_length: in code points.
        has_code: whether it has signs of code.
        has_math: whether it has words of mathematics.
        has_reasoning: whether it asks for reasons.
        language: of the text.
        urgency: in [0, 1].
        complexity_score: in [0, 1].
        suggested_max_tokens: for the answer.
        metadata: whatever else.
    """

    query: str = ""
    query_length: int = 0
    has_code: bool = False
    has_math: bool = False
    has_reasoning: bool = False
    language: str = "en"
    urgency: float = 0.5
    complexity_score: float = 0.0
    suggested_max_tokens: int = 1024
    metadata: dict[str, Any] = field(default_factory=dict)


class RouterPolicy(ABC):
    """Chooses a model."""

    @abstractmethod
    def select_model(self, context: RoutingContext) -> str:
        """Return the key of a model."""


class QueryAnalyzer(ABC):
    """Makes a context of a query."""

    @abstractmethod
    def analyze(self, query: str, **kwargs: Any) -> RoutingContext:
        """Return what is known of a query."""


class RewardFunction(ABC):
    """Says how good an answer was."""

    @abstractmethod
    def compute(self, context: RoutingContext, model_key: str, response: str, **kwargs: Any) -> float:
        """Return a reward in [0, 1]."""


class LearningPolicy(ABC):
    """Learns from a store of traces.

    Attributes:
        target: what it learns about: `intelligence` (models), `agent`, or nothing in particular.
    """

    target: ClassVar[str] = ""

    @abstractmethod
    def update(self, trace_store: Any, **kwargs: Any) -> dict[str, Any]:
        """Learn, and return what has changed."""


class IntelligenceLearningPolicy(LearningPolicy):
    """Learns which model to take."""

    target: ClassVar[str] = "intelligence"


class AgentLearningPolicy(LearningPolicy):
    """Learns how agents should be set up."""

    target: ClassVar[str] = "agent"
