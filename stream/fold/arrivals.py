"""Adds many traces of one bucket to its sums at once: integers, so that their order does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul
from typing import TypeAlias

from stream.fold.ratings import add_score, score_of
from stream.fold.totals import MICRO, Sum
from stream.fold.traces import add_trace
from stream.reading.outcome import Outcome

Arrival: TypeAlias = tuple[int, int, int, int, int]
"""What a new trace brings: nano-dollars, milliseconds, tokens (-1 where unknown), its outcome, and its inline micro-score or -1."""
FEW = 4
"""Up to so many, one by one is cheaper."""
_QUANTITIES = (int(Sum.COST_KNOWN), int(Sum.LATENCY_KNOWN), int(Sum.TOKENS_KNOWN))
_COUNT, _SUCCESSES, _FAILURES, _PROGRAM, _OUTCOME = map(int, (Sum.COUNT, Sum.SUCCESSES, Sum.FAILURES, Sum.PROGRAM, Sum.OUTCOME))
_SUCCESS, _FAILURE = int(Outcome.SUCCESS), int(Outcome.FAILURE)


def add_arrivals(sums: list[int], arrivals: Sequence[Arrival]) -> None:
    """Count traces in their bucket, with the scores that they bring along."""
    if len(arrivals) <= FEW:
        for cost_nano_usd, latency_ms, tokens, outcome, inline in arrivals:
            add_trace(sums, cost_nano_usd, latency_ms, tokens, outcome)
            add_score(sums, score_of(None, inline, outcome))
        return
    *quantities, outcomes, inlines = zip(*arrivals, strict=True)
    sums[_COUNT] += len(arrivals)
    for place, column in zip(_QUANTITIES, quantities, strict=True):
        known = [amount for amount in column if amount >= 0]
        sums[place] += len(known)
        sums[place + 1] += sum(known)
    sums[_SUCCESSES] += outcomes.count(_SUCCESS)
    sums[_FAILURES] += outcomes.count(_FAILURE)
    _add_scores(sums, outcomes, inlines)


def _add_scores(sums: list[int], outcomes: Sequence[int], inlines: Sequence[int]) -> None:
    rated = [inline for inline in inlines if inline >= 0]
    if rated:
        sums[_PROGRAM] += len(rated)
        sums[_PROGRAM + 1] += sum(rated)
        sums[_PROGRAM + 2] += sum(map(mul, rated, rated))
        outcomes = [outcome for outcome, inline in zip(outcomes, inlines, strict=True) if inline < 0]
    successes = outcomes.count(_SUCCESS)
    sums[_OUTCOME] += successes + outcomes.count(_FAILURE)
    sums[_OUTCOME + 1] += successes * MICRO
    sums[_OUTCOME + 2] += successes * MICRO * MICRO
