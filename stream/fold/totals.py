"""Totals: exact integer sums in nested buckets of absolute time, mergeable in any order."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from operator import add

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
WIDTHS_S = (MINUTE_S, HOUR_S, DAY_S)


class Sum(IntEnum):
    """The place of each sum in a bucket. All are integers; a trace adds to COUNT and to what is known of it."""

    COUNT = 0
    COST_KNOWN = 1
    COST_NANO_USD = 2
    LATENCY_KNOWN = 3
    LATENCY_MS = 4
    TOKENS_KNOWN = 5
    TOKENS = 6
    SUCCESSES = 7
    FAILURES = 8
    # A trace's score stands under the best source it has and under no other: human, judge, program, outcome.
    # Each source: how many traces, the sum of their micro-scores, the sum of the squares of these.
    HUMAN = 9
    HUMAN_MICRO = 10
    HUMAN_MICRO_SQ = 11
    JUDGE = 12
    JUDGE_MICRO = 13
    JUDGE_MICRO_SQ = 14
    PROGRAM = 15
    PROGRAM_MICRO = 16
    PROGRAM_MICRO_SQ = 17
    OUTCOME = 18
    OUTCOME_MICRO = 19
    OUTCOME_MICRO_SQ = 20
    # Decisions whose trace may still come in time; they are in no other sum.
    UNRESOLVED = 21
    # What a reward other than quality says of the trace, beside its score; only a fold that names one has these three.
    REWARD = 22
    REWARD_MICRO = 23
    REWARD_MICRO_SQ = 24


SUMS = int(Sum.REWARD)
"""Sums in a bucket where the reward is quality."""
SUMS_WITH_REWARD = len(Sum)
"""Sums in a bucket where it is another."""
MICRO = 1_000_000
"""Micro-scores in a score of 1."""


def identity(sums: int = SUMS) -> list[int]:
    """Return the sums of nothing."""
    return [0] * sums


def merge(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """Return the sums of both; commutative and associative, with `identity` as its neutral element.

    Example:
        >>> merge(identity(), identity()) == identity()
        True
    """
    return list(map(add, left, right))
