"""The rule for evaluations that give one number: the candidate's must exceed the baseline's by a stated least improvement.

What its error is nobody knows, since one number says nothing of its own chance: of two identical systems it lets one through in 46 of 100
cases (success rates of .7 over 50 samples each, threshold .02). Scores a sample make a test of it: see `stream.learning.gate.paired`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from stream.learning.gate.judgement import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdGate:
    """Compares two numbers.

    Attributes:
        min_improvement: what the difference must reach.
    """

    min_improvement: float = 0.02

    def look(self, baseline: float, candidate: float) -> Judgement:
        """Judge a candidate's number against the baseline's; both finite."""
        gain, passes = candidate - baseline, reaches(baseline, candidate, self.min_improvement)
        says = "reaches" if passes else "is below"
        reason = (
            f"The improvement of {gain:+.4f} ({baseline:.4f} to {candidate:.4f}) {says} threshold {self.min_improvement}, and without scores of single samples "
            f"its interval is not known; one {'below' if passes else 'of'} {self.min_improvement} would have {'kept it out' if passes else 'let it through'}."
        )
        return Judgement(verdict="promote" if passes else "reject", reason=reason, estimate=gain, interval=None, n=1, e_value=None, alpha=None)


def reaches(baseline: float, candidate: float, least: float) -> bool:
    """Whether a difference reaches a least one, in floats or in the decimals that they are written as.

    Floats alone accept .72 against .70 at .02, and refuse .82 against .80, which is as good.

    Example:
        >>> reaches(0.70, 0.72, 0.02), reaches(0.80, 0.82, 0.02), reaches(0.80, 0.8199, 0.02)
        (True, True, False)
    """
    return candidate - baseline >= least or Decimal(repr(float(candidate))) - Decimal(repr(float(baseline))) >= Decimal(repr(float(least)))
