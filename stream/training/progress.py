"""What a training run says of itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands after a step of the optimiser.

    Attributes:
        step: steps done; 0: nothing is trained yet, and `held_out_loss` is the base's.
        total_steps: that the run is planned for; it may end earlier.
        epoch: the one that the step was in, counted from 1.
        loss: mean over the step's supervised tokens, in nats.
        learning_rate: that the step was taken with.
        gradient_norm: before clipping.
        tokens: supervised tokens trained so far, over all epochs.
        tokens_per_s: supervised tokens a second over the run so far.
        elapsed_s: seconds of training, those before a crash included.
        held_out_loss: nats a supervised token, where it was measured after this step.
        peak_mb: most memory that the process, or the card, has held, in MB.
    """

    step: int
    total_steps: int
    epoch: int = 0
    loss: float | None = None
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    tokens: int = 0
    tokens_per_s: float = 0.0
    elapsed_s: float = 0.0
    held_out_loss: float | None = None
    peak_mb: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return all fields, for JSON."""
        return asdict(self)


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """Do nothing with it."""
