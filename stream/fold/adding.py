"""Adding traces to the sums of one bucket: one by one, or as columns where there are many.

Sums are of integers, so that the order in which they are added to does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

from stream.fold.ratings import add_score, score_of
from stream.fold.totals import MICRO, Sum
from stream.reading.outcome import Outcome

FIELDS = 5
"""Numbers in an `Arrival`."""
FEW = 4
"""Up to so many traces, one by one is cheaper."""
# Plain integers, since a member of an IntEnum is converted at every use as an index.
_COUNT, _COST_KNOWN, _COST_NANO_USD, _LATENCY_KNOWN, _LATENCY_MS, _TOKENS_KNOWN, _TOKENS, _SUCCESSES, _FAILURES = map(int, list(Sum)[:9])
_PROGRAM, _OUTCOME = int(Sum.PROGRAM), int(Sum.OUTCOME)
_SUCCESS, _FAILURE = int(Outcome.SUCCESS), int(Outcome.FAILURE)


def add_trace(sums: list[int], cost_nano_usd: int, latency_ms: int, tokens: int, outcome: int) -> None:
    """Count a trace; a quantity of -1 is unknown."""
    sums[_COUNT] += 1
    if cost_nano_usd >= 0:
        sums[_COST_KNOWN] += 1
        sums[_COST_NANO_USD] += cost_nano_usd
    if latency_ms >= 0:
        sums[_LATENCY_KNOWN] += 1
        sums[_LATENCY_MS] += latency_ms
    if tokens >= 0:
        sums[_TOKENS_KNOWN] += 1
        sums[_TOKENS] += tokens
    if outcome:
        sums[_SUCCESSES if outcome == _SUCCESS else _FAILURES] += 1


def add_arrivals(sums: list[int], arrivals: Sequence[int]) -> None:
    """Count traces in their bucket, with the scores that they bring along.

    Args:
        sums: of the bucket, changed in place.
        arrivals: the fields of one `Arrival` after the other.
    """
    if len(arrivals) <= FEW * FIELDS:
        for at in range(0, len(arrivals), FIELDS):
            cost_nano_usd, latency_ms, tokens, outcome, inline = arrivals[at : at + FIELDS]
            add_trace(sums, cost_nano_usd, latency_ms, tokens, outcome)
            add_score(sums, score_of(None, inline, outcome))
        return
    sums[_COUNT] += len(arrivals) // FIELDS
    for column, known in enumerate((_COST_KNOWN, _LATENCY_KNOWN, _TOKENS_KNOWN)):
        amounts = arrivals[column::FIELDS]
        if -1 in amounts:
            amounts = [amount for amount in amounts if amount >= 0]
        sums[known] += len(amounts)
        sums[known + 1] += sum(amounts)
    outcomes = arrivals[3::FIELDS]
    sums[_SUCCESSES] += outcomes.count(_SUCCESS)
    sums[_FAILURES] += outcomes.count(_FAILURE)
    _add_scores(sums, outcomes, arrivals[4::FIELDS])


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
