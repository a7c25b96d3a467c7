"""Choosing among the answers to one query: the best to train on, the best and the worst to prefer one over the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stream.learning.mining.answers import Answer

MIN_QUALITY, MAX_REJECTED = 0.7, 0.4
"""Scores from which an answer is good, and up to which it is bad; between them it is neither."""


@dataclass(slots=True)
class Place:
    """Where the best, and the worst, answer to a query stands in the archive.

    Attributes:
        good: score and number of the best good one; the newest of equally good ones, which contradict it no more.
        bad: the same of the worst bad one, its score's sign turned.
    """

    good: tuple[float, int] | None = None
    bad: tuple[float, int] | None = None

    def take(self, answer: Answer, *, min_quality: float, max_rejected: float) -> None:
        """Take an answer to the query."""
        score = answer.score
        if is_good(answer.outcome, score, min_quality) and score is not None:
            self.good = max(self.good or (score, answer.seq), (score, answer.seq))
        elif is_bad(answer.outcome, score, max_rejected):
            self.bad = max(self.bad or (-(score or 0.0), answer.seq), (-(score or 0.0), answer.seq))


def is_good(outcome: str | None, score: float | None, min_quality: float = MIN_QUALITY) -> bool:
    """Whether an answer is one to learn from: it did not fail, and it is rated well."""
    return outcome != "failure" and score is not None and score >= min_quality


def is_bad(outcome: str | None, score: float | None, max_rejected: float = MAX_REJECTED) -> bool:
    """Whether an answer is one to learn to avoid: it failed, or it is rated badly; one that nobody scored is not."""
    return outcome == "failure" or (score is not None and score <= max_rejected)


def is_news(answer: Answer, min_quality: float = MIN_QUALITY, max_rejected: float = MAX_REJECTED) -> bool:
    """Whether an answer is good or bad, and was not known as that before: what was rated late counts once, when its rating makes it either."""
    now, before = ((is_good(answer.outcome, score, min_quality), is_bad(answer.outcome, score, max_rejected)) for score in (answer.score, answer.before))
    return any(now) and not (answer.is_late and now == before)


def places(answers: Iterable[Answer], *, min_quality: float = MIN_QUALITY, max_rejected: float = MAX_REJECTED) -> dict[bytes, Place]:
    """Find, for every query, where its best and its worst answer stand: some 300 bytes a query that has one, whatever the answers hold."""
    found: dict[bytes, Place] = {}
    for answer in (answer for answer in answers if is_news(answer, min_quality, max_rejected)):
        found.setdefault(answer.name, Place()).take(answer, min_quality=min_quality, max_rejected=max_rejected)
    return found


def chosen(answers: Iterable[Answer], found: dict[bytes, Place]) -> Iterator[Answer]:
    """Give each query's best answer, from a second reading of the same answers."""
    for answer in answers:
        place = found.get(answer.name)
        if place is not None and place.good is not None and place.good[1] == answer.seq:
            yield answer


def preferred(answers: Iterable[Answer], found: dict[bytes, Place]) -> Iterator[tuple[Answer, Answer]]:
    """Give the best and the worst answer to each query that has both, and they differ; from a second reading of the same answers."""
    waiting: dict[bytes, Answer] = {}
    for answer in answers:
        place = found.get(answer.name)
        if place is None or place.good is None or place.bad is None or answer.seq not in (place.good[1], place.bad[1]):
            continue
        other = waiting.pop(answer.name, None)
        if other is None:
            waiting[answer.name] = answer
        elif other.result.strip() != answer.result.strip():
            yield (answer, other) if answer.seq == place.good[1] else (other, answer)
