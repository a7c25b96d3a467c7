"""An evaluator that answers at once: what is left of a cycle's time is the cycle's own."""

from __future__ import annotations

from pathlib import Path


def always_alike(folder: Path) -> float:
    """Score a configuration as any other: nothing is promoted, and nothing is waited for."""
    return 0.5
