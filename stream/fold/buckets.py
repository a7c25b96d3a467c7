"""The totals of a partition: sums by query class and arm, in disjoint buckets of a minute, an hour or a day.

A datum is in exactly one bucket, and which one follows from its minute and the partition's time alone: in its minute's
while that is among the last `keep_minutes`, then in its hour's, then in its day's, then in none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from stream.fold.spec import FoldSpec
from stream.fold.totals import SUMS, SUMS_WITH_REWARD, WIDTHS_S, Sum, identity, merge
from stream.reading.arm import FullArm
from stream.reading.reward import QUALITY
from stream.records import OVERFLOW, Arm, ArmStatistics

MINUTES_IN = (1, 60, 1440)
"""Minutes in a bucket of each level."""
_COUNT, _UNRESOLVED = int(Sum.COUNT), int(Sum.UNRESOLVED)
OVERFLOW_ARM = FullArm(OVERFLOW, "", "", "")

Span: TypeAlias = tuple[int, int]
"""(level, start): a bucket of time, its start counted in its own width since the epoch."""
CellKey: TypeAlias = tuple[str, FullArm]


class Cell:
    """One arm of one class; it leaves with its last bucket."""

    __slots__ = ("arm", "buckets", "query_class")

    def __init__(self, query_class: str, arm: FullArm) -> None:
        self.query_class = query_class
        self.arm = arm
        self.buckets = 0


class Slab:
    """All sums of one span, by place (number of the cell, doubled, plus one for what was drawn), and which changed."""

    __slots__ = ("dirty", "sums")

    def __init__(self) -> None:
        self.sums: dict[int, list[int]] = {}
        self.dirty: set[int] = set()


class Totals:
    """The totals of one partition.

    Attributes:
        minute: the partition's time, in minutes since the epoch; -1 at first.
        cells: by number; one without buckets has left, and its number is used again.
        classes: number of the cell of every arm of every class.
        by_names: the same, by class and names of the arm in one; without the overflow's, which no record may name.
        changed: classes whose totals changed since this set was last taken.
        left: spans that aged out since the last checkpoint.
    """

    __slots__ = ("_floors", "_free", "_keep", "_max_arms", "_max_classes", "_sums", "by_names", "cells", "changed", "classes", "left", "minute", "slabs")

    def __init__(self, spec: FoldSpec) -> None:
        self._keep = (spec.keep_minutes, spec.keep_hours, spec.keep_days)
        self._max_classes, self._max_arms = spec.max_classes, spec.max_arms
        self._sums = SUMS if spec.reward == QUALITY else SUMS_WITH_REWARD
        self._floors = [0, 0, 0]
        self._free: list[int] = []
        self.minute = -1
        self.cells: list[Cell] = []
        self.classes: dict[str, dict[FullArm, int]] = {}
        self.by_names: dict[tuple[str, ...], int] = {}
        self.slabs: tuple[dict[int, Slab], ...] = ({}, {}, {})
        self.changed: set[str] = set()
        self.left: set[Span] = set()

    # ---- finding the place of a datum

    def locate(self, minute: int) -> Span | None:
        """Return the span that holds what was counted in a minute, None where it has been dropped."""
        for level, floor in enumerate(self._floors):
            start = minute // MINUTES_IN[level]
            if start >= floor:
                return level, start
        return None

    def has_room_for_class(self, query_class: str) -> bool:
        """Whether traces of this class are counted under its own name."""
        classes = self.classes
        return query_class in classes or query_class == OVERFLOW or len(classes) - (OVERFLOW in classes) < self._max_classes

    def has_room_for_arm(self, query_class: str, arm: FullArm) -> bool:
        """Whether traces of this arm are counted under its own name in this class."""
        arms = self.classes.get(query_class, {})
        return arm in arms or arm == OVERFLOW_ARM or len(arms) - (OVERFLOW_ARM in arms) < self._max_arms

    def capped(self, query_class: str, arm: FullArm) -> tuple[str, FullArm]:
        """Return the class and arm under which an arm is counted: its own, or the overflow's where the cap is reached."""
        query_class = query_class if self.has_room_for_class(query_class) else OVERFLOW
        return query_class, arm if self.has_room_for_arm(query_class, arm) else OVERFLOW_ARM

    def cell(self, query_class: str, arm: FullArm) -> int:
        """Return the number of a cell, made if there is none. What asks for it must then add a bucket to it."""
        arms = self.classes.setdefault(query_class, {})
        number = arms.get(arm)
        if number is None:
            number = arms[arm] = self._number(Cell(query_class, arm))
            if query_class != OVERFLOW and arm != OVERFLOW_ARM:
                self.by_names[query_class, *arm] = number
        return number

    def _number(self, cell: Cell) -> int:
        if self._free:
            number = self._free.pop()
            self.cells[number] = cell
            return number
        self.cells.append(cell)
        return len(self.cells) - 1

    def sums(self, span: Span, place: int) -> list[int]:
        """Return the sums of a bucket, made if there is none, to be changed in place; they count as changed."""
        slab = self._slab(span)
        slab.dirty.add(place)
        cell = self.cells[place >> 1]
        self.changed.add(cell.query_class)
        sums = slab.sums.get(place)
        if sums is None:
            sums = slab.sums[place] = identity(self._sums)
            cell.buckets += 1
        return sums

    def touch(self, place: int) -> None:
        """Let a class count as changed, though no sum of it has."""
        self.changed.add(self.cells[place >> 1].query_class)

    def _slab(self, span: Span) -> Slab:
        level, start = span
        slab = self.slabs[level].get(start)
        if slab is None:
            slab = self.slabs[level][start] = Slab()
        return slab

    # ---- ageing

    def advance(self, minute: int) -> None:
        """Let the partition's time go on: move what is too old for its span into a wider one, or drop it."""
        self.minute = minute
        self._floors = [minute // width - keep + 1 for width, keep in zip(MINUTES_IN, self._keep, strict=True)]
        for level, floor in enumerate(self._floors):
            slabs = self.slabs[level]
            for start in [start for start in slabs if start < floor]:
                self._move(slabs.pop(start), self.locate(start * MINUTES_IN[level]))
                self.left.add((level, start))

    def _move(self, slab: Slab, span: Span | None) -> None:
        for place, sums in slab.sums.items():
            if span is not None:
                self._merge_into(self._slab(span), place, sums)
            else:
                self._drop(place)

    def _merge_into(self, target: Slab, place: int, sums: list[int]) -> None:
        target.dirty.add(place)
        there = target.sums.get(place)
        if there is None:
            target.sums[place] = sums
            return
        target.sums[place] = merge(there, sums)
        self.cells[place >> 1].buckets -= 1

    def _drop(self, place: int) -> None:
        cell = self.cells[place >> 1]
        self.changed.add(cell.query_class)
        cell.buckets -= 1
        if not cell.buckets:
            self._release(place >> 1, cell)

    def _release(self, number: int, cell: Cell) -> None:
        self._free.append(number)
        arms = self.classes[cell.query_class]
        del arms[cell.arm]
        self.by_names.pop((cell.query_class, *cell.arm), None)
        if not arms:
            del self.classes[cell.query_class]

    # ---- reading and restoring

    def statistics(self, query_class: str) -> tuple[ArmStatistics, ...]:
        """Return the totals of one class as they go on the wire, without what has nothing in it; empty where the class has left."""
        arms, spans = self.classes.get(query_class, {}), list(self._spans())
        return tuple(ArmStatistics(arm=_on_the_wire(arm), buckets=rows) for arm, number in sorted(arms.items()) if (rows := _rows(number, spans)))

    def _spans(self) -> Iterator[tuple[int, int, dict[int, list[int]]]]:
        """Width and start, in seconds, and the sums of every span, the widest and oldest first."""
        for level in (2, 1, 0):
            for start, slab in sorted(self.slabs[level].items()):
                yield WIDTHS_S[level], start * WIDTHS_S[level], slab.sums

    def restore(self, minute: int, buckets: Mapping[Span, Mapping[tuple[str, FullArm, int], list[int]]]) -> None:
        """Fill empty totals with what a checkpoint held at a time."""
        self.advance(minute)
        for (level, start), by_cell in buckets.items():
            slab = self.slabs[level][start] = Slab()
            for (query_class, arm, drawn), sums in by_cell.items():
                number = self.cell(query_class, arm)
                slab.sums[number * 2 + drawn] = sums
                self.cells[number].buckets += 1


@lru_cache(maxsize=8192)
def _on_the_wire(arm: FullArm) -> Arm:
    return Arm(**arm._asdict())


def _rows(number: int, spans: Iterable[tuple[int, int, dict[int, list[int]]]]) -> tuple[tuple[int, ...], ...]:
    """The buckets of a cell as they go on the wire."""
    undrawn, drawn = 2 * number, 2 * number + 1
    return (
        *[(width_s, start_s, 0, *sums[undrawn]) for width_s, start_s, sums in spans if undrawn in sums and _has_any(sums[undrawn])],
        *[(width_s, start_s, 1, *sums[drawn]) for width_s, start_s, sums in spans if drawn in sums and _has_any(sums[drawn])],
    )


def _has_any(sums: Sequence[int]) -> bool:
    """Whether anything is in a bucket; what a decision was counted as is taken out again once its trace comes."""
    return bool(sums[_COUNT] or sums[_UNRESOLVED])
