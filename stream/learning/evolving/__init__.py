"""Agents' configurations that follow what their traces show, with every version kept."""

from __future__ import annotations

from stream.learning.evolving.evolver import AgentConfigEvolver, Suggestion
from stream.learning.evolving.mining import TrainingDataMiner

__all__ = ["AgentConfigEvolver", "Suggestion", "TrainingDataMiner"]
