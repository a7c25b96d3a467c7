"""The ratings of one trace, packed; and the score that they, its inline rating and its outcome make."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import xxhash

from stream.fold.totals import MICRO, Sum
from stream.reading.outcome import Outcome

KINDS = ("human", "judge", "program")
"""Kinds of raters, the best source of a score first."""
KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
# Plain integers: looking up a member of an enum and adding to it would cost as much as all the rest of a score.
_SOURCES = tuple(int(source) for source in (Sum.HUMAN, Sum.JUDGE, Sum.PROGRAM))
_PROGRAM, _OUTCOME = int(Sum.PROGRAM), int(Sum.OUTCOME)
_SUCCESS = int(Outcome.SUCCESS)
MAX_RATERS = 64
"""Raters kept for one trace: many times what people, judges and programs there are, and 1.3 kB in the index."""

_RATING = struct.Struct("<QdIB")


class Word(NamedTuple):
    """A rater's last word; the greater one stands, so that any order of arrival ends the same."""

    given_at_s: float
    micro: int
    kind: int


Scores: TypeAlias = tuple[int, int, int, int]
"""Micro-scores by human, judge, program and outcome, -1 where a source is silent."""
Words: TypeAlias = dict[int, Word]
"""By hash of the rater's name."""


@lru_cache(maxsize=4096)
def rater_hash(rater: str) -> int:
    """Return the 64-bit hash under which a rater's word is kept."""
    return xxhash.xxh3_64_intdigest(rater.encode())


def unpack_ratings(packed: bytes | None) -> Words:
    """Read packed ratings."""
    return {rater: Word(given_at_s, micro, kind) for rater, given_at_s, micro, kind in _RATING.iter_unpack(packed)} if packed else {}


def pack_ratings(words: Words) -> bytes:
    """Pack ratings: 21 bytes each, in the order of their raters, so that equal ratings are equal bytes."""
    if len(words) == 1:
        ((rater, word),) = words.items()
        return _RATING.pack(rater, *word)
    return b"".join(_RATING.pack(rater, *words[rater]) for rater in sorted(words))


def score_of(packed: bytes | None, inline_micro: int, outcome: int) -> tuple[int, int] | None:
    """Return the score of a trace from the best source that it has.

    Several raters of one kind score the floor of their mean. The inline rating stands for the programs only as long as
    no program has given feedback.

    Args:
        packed: its ratings.
        inline_micro: the rating that the trace brought with it, -1 where it brought none.
        outcome: an `Outcome`.

    Returns:
        (place of the source's count in the sums, micro-score), or None where nothing is known.
    """
    if packed and len(packed) == _RATING.size:
        _, _, micro, kind = _RATING.unpack(packed)
        return _SOURCES[kind], micro
    if packed:
        for kind, micro in enumerate(_by_kind(packed)):
            if micro >= 0:
                return _SOURCES[kind], micro
    if inline_micro >= 0:
        return _PROGRAM, inline_micro
    if outcome:
        return _OUTCOME, MICRO if outcome == _SUCCESS else 0
    return None


def _by_kind(packed: bytes) -> tuple[int, int, int]:
    """Return the micro-score by every kind of rater, -1 where none of the kind has spoken."""
    given: tuple[list[int], list[int], list[int]] = ([], [], [])
    for _, _, micro, kind in _RATING.iter_unpack(packed):
        given[kind].append(micro)
    human, judge, program = (sum(micros) // len(micros) if micros else -1 for micros in given)
    return human, judge, program


def has_human(packed: bytes | None) -> bool:
    """Whether a person is among the raters."""
    return packed is not None and 0 in packed[_RATING.size - 1 :: _RATING.size]


def scores_of(packed: bytes | None, inline_micro: int, outcome: int) -> Scores:
    """Return a trace's score by every source that it has; `score_of` is the first of them.

    Args:
        packed: its ratings.
        inline_micro: as `score_of` takes it.
        outcome: an `Outcome`.
    """
    human, judge, program = _by_kind(packed or b"")
    return human, judge, inline_micro if program < 0 else program, -1 if not outcome else MICRO if outcome == _SUCCESS else 0


def add_score(sums: list[int], score: tuple[int, int] | None) -> None:
    """Add a trace's score to the sums of its bucket."""
    if score is not None:
        source, micro = score
        sums[source] += 1
        sums[source + 1] += micro
        sums[source + 2] += micro * micro


def take_score(sums: list[int], score: tuple[int, int] | None) -> None:
    """Take a trace's score out of the sums of its bucket."""
    if score is not None:
        source, micro = score
        sums[source] -= 1
        sums[source + 1] -= micro
        sums[source + 2] -= micro * micro
