"""The learning rate of each step."""

from __future__ import annotations

import math

from stream.training.config import Schedule


def share_of_peak(step: int, *, total_steps: int, warmup_ratio: float, schedule: Schedule) -> float:
    """Return what share of the peak a step is taken with.

    It rises in a straight line over the warm-up, whose last step has the peak, and falls from there so that the step after the last would have 0.

    Args:
        step: counted from 0.
        total_steps: of the run.
        warmup_ratio: of all steps, in [0, 1].
        schedule: `cosine`, `linear` or `constant`.

    Example:
        >>> [share_of_peak(step, total_steps=6, warmup_ratio=1 / 3, schedule="linear") for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warmup = math.ceil(warmup_ratio * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total_steps - warmup)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
