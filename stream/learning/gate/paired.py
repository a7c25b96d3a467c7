"""The gate for pairs of scores: both configurations on the same samples, looked at after every pair, with a stated error and a stated end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream.errors import GateError
from stream.learning.gate.betting import bets, capital, greatest_bet, lower_bound
from stream.learning.gate.judgement import Judgement, Verdict

WORSE_ALPHA = 0.025
"""Chance that a candidate is ever given up as not better though it is: ending early for that promotes nothing, so it needs no stricter proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedGate:
    """A one-sided sequential test of a candidate.

    Attributes:
        alpha: chance, in (0, 1), that a candidate whose mean score is above the baseline's by no more than `min_improvement` is ever promoted,
            at however many looks, where what the pairs so far say does not tell which one comes next.
        max_pairs: the end: who is not promoted by then is rejected. Bets are made for it: give the number of pairs that there will be at most.
        min_improvement: of the mean score, in [0, 1); 0: any improvement will do.

    Raises:
        GateError: a value is outside of its range.

    Example:
        >>> PairedGate(alpha=0.05, max_pairs=100).look([0.0] * 40, [1.0] * 40).verdict
        'promote'
    """

    alpha: float
    max_pairs: int
    min_improvement: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0 or self.max_pairs < 1 or not 0.0 <= self.min_improvement < 1.0:
            raise GateError(f"{self} was asked for, but alpha lies in (0, 1), max_pairs is at least 1 and min_improvement lies in [0, 1); correct it")

    def look(self, baseline: Sequence[float], candidate: Sequence[float]) -> Judgement:
        """Judge by the pairs so far. The same pairs give the same verdict, and once it has fallen more pairs leave it as it is.

        Args:
            baseline: scores in [0, 1].
            candidate: scores in [0, 1] of the same samples in the same order.

        Raises:
            GateError: they are no pairs, or a score is outside of [0, 1].
        """
        if len(baseline) != len(candidate):
            raise GateError(f"the baseline has {len(baseline)} scores and the candidate {len(candidate)}, but pairs are needed; score both on the same samples")
        for score in (*baseline, *candidate):
            if not 0.0 <= score <= 1.0:
                raise GateError(f"a score is {score!r}, but scores lie in [0, 1]; scale them")
        return self.weigh(after - before for before, after in zip(baseline, candidate, strict=True))

    def weigh(self, differences: Iterable[float]) -> Judgement:
        """Judge by differences in [-1, 1], the candidate's score less the baseline's, in the order in which they came.

        Raises:
            GateError: a difference is outside of [-1, 1].
        """
        seen = list(itertools.islice(differences, self.max_pairs))
        for difference in seen:
            if not -1.0 <= difference <= 1.0:
                raise GateError(f"a difference of scores is {difference!r}, but differences lie in [-1, 1]; scale them")
        return _Looks(self, seen).judgement()


class _Looks:
    """All looks at a sequence of differences, up to the one that decides."""

    def __init__(self, gate: PairedGate, seen: list[float]) -> None:
        self._gate, self._goal = gate, 1 / gate.alpha
        self._staked = bets(seen, alpha=gate.alpha, horizon=gate.max_pairs)
        self._against = [-difference for difference in seen]
        self._staked_against = bets(self._against, alpha=WORSE_ALPHA, horizon=gate.max_pairs)
        self._held, self._is_worse = 1.0, False
        self._n = self._decide(seen)
        self._seen, self._staked = seen[: self._n], self._staked[: self._n]

    def _decide(self, seen: list[float]) -> int:
        """Find the look that decides: the number of its pairs, all where none does."""
        null, n = self._gate.min_improvement, 0
        both = zip(capital(seen, self._staked, null), capital(self._against, self._staked_against, -null), strict=True)
        for n, (self._held, against) in enumerate(both, 1):
            self._is_worse = against >= 1 / WORSE_ALPHA
            if self._held >= self._goal or self._is_worse or not self._can_still(n):
                break
        return n

    def _can_still(self, n: int) -> bool:
        """Whether the pairs that may still come could bring the capital that is needed, if all of them were won."""
        null = self._gate.min_improvement
        most = math.log1p(greatest_bet(null) * (1 - null)) * (self._gate.max_pairs - n)
        return self._held > 0 and math.log(self._held) + most >= math.log(self._goal)

    @property
    def _verdict(self) -> Verdict:
        if self._held >= self._goal:
            return "promote"
        return "reject" if self._is_worse or not self._can_still(self._n) else "undecided"

    def judgement(self) -> Judgement:
        """Return the verdict, with what it stands on."""
        n = self._n
        estimate = math.fsum(self._seen) / n if n else 0.0
        low = lower_bound(self._seen, self._staked, self._gate.alpha)
        high = -lower_bound(self._against[:n], self._staked_against[:n], WORSE_ALPHA)
        reason = self._reason(estimate, (low, high))
        return Judgement(verdict=self._verdict, reason=reason, estimate=estimate, interval=(low, high), n=n, e_value=self._held, alpha=self._gate.alpha)

    def _reason(self, estimate: float, interval: tuple[float, float]) -> str:
        null = self._gate.min_improvement
        least = f" by more than {100 * null:g} points" if null else ""
        found = f"{_points(estimate)} points over {self._n:,} of at most {self._gate.max_pairs:,} pairs, interval {_points(interval[0])} to {_points(interval[1])}"
        return f"{self._says()}{least}: {found}, e-value {self._held:.3g} where {self._goal:.4g} promotes; {self._turns(estimate + null - interval[0])}."

    def _says(self) -> str:
        if self._verdict == "reject":
            return "Proven not better" if self._is_worse else "Not proven better"
        return "Proven better" if self._verdict == "promote" else "Not yet proven better"

    def _turns(self, mean: float) -> str:
        """Say at which mean the verdict would turn: were every difference greater by so much, the lower bound would be too."""
        if self._verdict == "promote":
            return f"had it been below {_points(mean)}, this would not have been enough"
        return f"had it been {_points(mean)}, this would have promoted it" if mean <= 1.0 else "so few promote nothing"


def _points(difference: float) -> str:
    """Write a difference of scores in points, hundredths of the scale."""
    return f"{100 * difference:+.1f}"
