"""What an evaluation found: a score a sample, by the sample's id, or one number for all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from stream.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a configuration. More is better.

    Attributes:
        by_id: a score in [0, 1] a sample, by its id; empty where the evaluation gives one number only.
        single: that number, of any size.

    Raises:
        EvaluationError: a score is no number or outside of its range, or there is nothing.
    """

    by_id: Mapping[str, float] = field(default_factory=dict)
    single: float | None = None

    def __post_init__(self) -> None:
        for name, score in self.by_id.items():
            if not 0.0 <= score <= 1.0:
                raise EvaluationError(f"sample {name!r} scores {score!r}, but scores of samples lie in [0, 1]; scale them")
        if not self.by_id and self.single is None:
            raise EvaluationError("the evaluation scored no sample, but a verdict needs some; look at what it evaluates")
        if self.single is not None and not math.isfinite(self.single):
            raise EvaluationError(f"the evaluation returned {self.single!r}, but a score is a finite number; look at how it is computed")

    @property
    def mean(self) -> float:
        """The mean score, or the single number."""
        return math.fsum(self.by_id.values()) / len(self.by_id) if self.single is None else self.single


def paired(baseline: Scores, candidate: Scores) -> tuple[list[float], list[float]]:
    """Return the scores of the samples that both have, pair by pair, in an order that nobody chose: that of the ids' hashes.

    Example:
        >>> paired(Scores({"a": 0.0, "b": 1.0}), Scores({"b": 0.5, "c": 1.0}))
        ([1.0], [0.5])
    """
    ids = sorted(baseline.by_id.keys() & candidate.by_id.keys(), key=lambda name: (hashlib.sha256(name.encode(errors="surrogatepass")).digest(), name))
    return [baseline.by_id[name] for name in ids], [candidate.by_id[name] for name in ids]
