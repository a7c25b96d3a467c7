"""What is watched: how traces and scores went by time, of everything, of each agent and of each class, out of partitions' running totals.

A new total costs what has changed in it. All sums are integers, so that whoever watches the same totals has the same sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import add, sub
from typing import TypeAlias

from stream.fold.totals import MICRO, Sum
from stream.records import PartitionStatistics
from stream.routing.merging import Row, changes
from stream.routing.weighing import BY_SOURCE

MOST_AGENTS = 1_000
"""Agents that are watched, ever; names beyond are somebody's invention, and count for everything alone."""
ARM = ("model", "agent", "config_version", "adapter")
COUNT, REWARD, QUALITY = int(Sum.COUNT), (int(Sum.REWARD),), tuple(int(place) for place in BY_SOURCE if place != Sum.REWARD)
"""Where the scores stand that traces are judged by; as plain integers, which are looked up faster."""
_KEY = 3
"""Columns of a row that name its bucket."""
Tally: TypeAlias = tuple[int, ...]
"""Traces, of them scored, sum of the micro-scores, of their squares, and how many scores are good at the least."""
NOTHING: Tally = (0, 0, 0, 0, 0)


class Course:
    """How one thing went by time.

    Attributes:
        buckets: by width and start, in seconds.
        version: grows with every change.
        tested: when a test of it was made last (version, minute, chance of a false alarm), and what it found.
    """

    __slots__ = ("buckets", "tested", "version")

    def __init__(self) -> None:
        self.buckets: dict[tuple[int, int], Tally] = {}
        self.version = 0
        self.tested: tuple[tuple[int, float, float], int | None] | None = None

    def change(self, row: Row, tally: Tally, sign: int) -> None:
        """Add a row of a total, or take it out."""
        bucket = (row[0], row[1])
        there = self.buckets.get(bucket, NOTHING)
        new = tuple(map(add if sign > 0 else sub, there, tally))
        self.version += 1
        if any(new):
            self.buckets[bucket] = new
        else:
            self.buckets.pop(bucket, None)


class Watch:
    """Everything, each agent and each class.

    Args:
        min_quality: score, in [0, 1], from which an answer is good enough to train on.

    Attributes:
        everything: all traces together.
        agents: those of each agent.
        classes: those of each class.
    """

    def __init__(self, *, min_quality: float) -> None:
        self._good = round(min_quality * MICRO)
        self._held: dict[tuple[str, int], PartitionStatistics] = {}
        self._admitted: set[str] = set()
        self.everything = Course()
        self.agents: dict[str, Course] = {}
        self.classes: dict[str, Course] = {}

    def follow(self, newest: Iterable[PartitionStatistics]) -> Iterator[None]:
        """Take all totals that there are, and let go of those that are no longer; pauses after each that has changed, for whoever shares a loop."""
        gone = dict(self._held)
        for total in newest:
            before = gone.pop((total.query_class, total.partition), None)
            if before is not total:
                self._take(before, total)
                yield
        for total in gone.values():
            self._take(total, None)
            yield

    def _take(self, before: PartitionStatistics | None, after: PartitionStatistics | None) -> None:
        query_class, partition = next((total.query_class, total.partition) for total in (after, before) if total)
        for _, arm, gone, come in changes(before, after, ARM):
            courses = [self.everything, self.classes.setdefault(query_class, Course())]
            if self._admits(arm.agent):
                courses.append(self.agents.setdefault(arm.agent, Course()))
            for sign, rows in ((-1, gone), (1, come)):
                for row in rows:
                    tally = tally_of(row[_KEY:], self._good)
                    for course in courses:
                        course.change(row, tally, sign)
        if after is not None:
            self._held[query_class, partition] = after
        else:
            self._held.pop((query_class, partition), None)
            self._prune()

    def _admits(self, agent: str) -> bool:
        """Whether an agent is watched: one that is or is not stays so, since what was not counted cannot be taken out."""
        if agent not in self._admitted and len(self._admitted) < MOST_AGENTS:
            self._admitted.add(agent)
        return agent in self._admitted

    def _prune(self) -> None:
        for courses in (self.agents, self.classes):
            for name in [name for name, course in courses.items() if not course.buckets]:
                del courses[name]


def tally_of(sums: tuple[int, ...], good: int) -> Tally:
    """Read a bucket's sums: scores from where traces are judged by, which is another reward than quality alone where one is summed.

    Args:
        sums: by `stream.fold.totals.Sum`.
        good: micro-score from which one is good.
    """
    places = REWARD if len(sums) > REWARD[0] else QUALITY
    columns = [(count, sums[place + 1], sums[place + 2]) for place in places if (count := sums[place])]
    scored, total, squares = (sum(column) for column in zip(*columns, strict=True)) if columns else (0, 0, 0)
    return sums[COUNT], scored, total, squares, sum(least_good(*each, good) for each in columns)


def least_good(count: int, total: int, squares: int, good: int) -> int:
    """Say how many of some scores are good at the least, by what is summed of them: exactly, where each is 0 or 1.

    Of scores in [0, 1], one below q adds at most nothing to the sum of x (x - q), and one from q on at most 1 - q; and to the sum of
    x - q likewise. So each sum, divided by 1 - q, is no more than the number of the good ones.

    Args:
        count: how many there are.
        total: sum of the micro-scores.
        squares: sum of their squares.
        good: micro-score from which one is good.

    Example:
        >>> least_good(10, 7 * MICRO, 7 * MICRO**2, 700_000)     # seven of 1, three of 0
        7
        >>> least_good(2, 1_600_000, 2 * 800_000**2, 700_000)    # two of .8: one at the least
        1
    """
    room = MICRO - good
    if room <= 0:
        return int(count > 0 and total == count * MICRO) * count
    return max(0, -((good * total - squares) // (MICRO * room)), -((count * good - total) // room))
