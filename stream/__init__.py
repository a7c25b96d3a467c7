"""Eddy: a streaming learning loop for LLM agents."""

__version__ = "0.1.0"
