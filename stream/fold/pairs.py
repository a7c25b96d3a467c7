"""Traces that a person and another source have both scored: sums of what the two said, by the day of the trace.

From them it is learned on which scale the other source speaks. Like all sums they are integers in buckets of absolute time,
and equal in whatever order they are added up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from stream.fold.ratings import Scores

DAY_S, DAY_MINUTES = 86_400, 1_440
SUMS = 5
"""How many traces, the person's micro-scores, the source's, their products, the squares of the source's."""

PairRow: TypeAlias = tuple[int, ...]
"""A bucket as it travels: start in epoch seconds, the source (1 judge, 2 program, 3 outcome), then the sums."""
ByDay: TypeAlias = dict[int, dict[int, list[int]]]
"""Sums by day since the epoch and source."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ByDay).decode


class Pairs:
    """The pairs of one partition.

    Attributes:
        days: none without a pair.
    """

    __slots__ = ("days",)

    def __init__(self) -> None:
        self.days: ByDay = {}

    def count(self, minute: int, scores: Scores, sign: int = 1) -> None:
        """Count a trace of a minute in; or, with sign -1, out again, by the scores that it was counted in with."""
        human, *others = scores
        if human < 0:
            return
        for source, other in enumerate(others, 1):
            if other >= 0:
                self._add(minute // DAY_MINUTES, source, [sign * amount for amount in (1, human, other, human * other, other * other)])

    def _add(self, day: int, source: int, amounts: list[int]) -> None:
        sources = self.days.setdefault(day, {})
        sources[source] = sums = [left + right for left, right in zip(sources.get(source, [0] * SUMS), amounts, strict=True)]
        if not sums[0]:
            del sources[source]
        if not sources:
            del self.days[day]

    def leave(self, is_kept: Callable[[int], bool]) -> None:
        """Drop the days whose last minute is not kept any more."""
        for day in [day for day in self.days if not is_kept(last_minute(day))]:
            del self.days[day]

    def rows(self) -> tuple[PairRow, ...]:
        """Return the sums as they go on the wire, in order."""
        return tuple((day * DAY_S, source, *sums) for day, sources in sorted(self.days.items()) for source, sums in sorted(sources.items()))

    def pack(self) -> bytes:
        """Pack them for a checkpoint: in JSON, since products may take more than 64 bits."""
        return _encode(self.days)

    def restore(self, packed: bytes) -> None:
        """Take what a checkpoint held."""
        self.days = _decode(packed)


def last_minute(day: int) -> int:
    """Return the last minute of a day, both counted since the epoch."""
    return (day + 1) * DAY_MINUTES - 1
