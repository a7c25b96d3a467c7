"""A gate's verdict, with the figures that it stands on and one sentence that says why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["promote", "reject", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a gate says of a candidate.

    Attributes:
        verdict: `undecided` only while more samples may come.
        reason: one sentence: estimate, interval, number, and what would have changed the verdict.
        estimate: the candidate's mean score less the baseline's, over the samples that were looked at.
        interval: of that difference. What lies below it is excluded with an error of `alpha`, what lies above with 2.5 %, at all looks together; None
            where single numbers were compared.
        n: samples that were looked at, up to the one that decided.
        e_value: evidence that the candidate is better: if it is not, it ever reaches x with chance 1/x at most. None where single numbers were compared.
        alpha: chance that a candidate which is not better is ever promoted; None where single numbers were compared: then it is not known.
    """

    verdict: Verdict
    reason: str
    estimate: float
    interval: tuple[float, float] | None
    n: int
    e_value: float | None
    alpha: float | None

    @property
    def is_promotion(self) -> bool:
        """Whether the candidate is let through."""
        return self.verdict == "promote"

    def as_json(self) -> dict[str, Any]:
        """For machines, and for a ledger."""
        return asdict(self) | {"interval": None if self.interval is None else list(self.interval)}
