"""One learning cycle as a call: mined, staged, evaluated, promoted or discarded. `stream.cycles` runs cycles as a service."""

from __future__ import annotations

from stream.learning.orchestrating.orchestrator import LearningOrchestrator

__all__ = ["LearningOrchestrator"]
