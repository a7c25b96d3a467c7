"""What an export writes, line by line, in the forms that trainers read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from stream.learning.mining.answers import Answer, Period, answers
from stream.learning.mining.choosing import MIN_QUALITY, Place, chosen, places, preferred
from stream.learning.splits import Split

if TYPE_CHECKING:
    from stream.archive.reader import ArchiveReader
    from stream.learning.mining.redaction import Redactor

Form = Literal["chat", "preference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is exported.

    Attributes:
        form: `chat` is one conversation a query, `preference` a better and a worse one.
        period: which traces are read.
        split: only of this side of the split; None: of all.
        min_quality: score, in [0, 1], from which an answer is good.
    """

    form: Form = "chat"
    period: Period = field(default_factory=Period)
    split: Split | None = None
    min_quality: float = MIN_QUALITY


TEXTS = ("messages", "prompt", "chosen", "rejected")
"""Where a row holds what was said; the rest names things."""


@dataclass(slots=True)
class Export:
    """What is to be written, found by a first reading of a period, and given by a second.

    Args:
        reader: of the archive.
        wanted: what.
        seen: told how many answers were read so far, for whoever shows progress.
    """

    reader: ArchiveReader
    wanted: Wanted
    seen: Callable[[int], None] = lambda _: None
    found: dict[bytes, Place] = field(init=False)

    def __post_init__(self) -> None:
        """Read the period, up to where the archive stands now."""
        if self.wanted.period.until is None:
            self.wanted = replace(self.wanted, period=replace(self.wanted.period, until=self.reader.indexed))
        self.found = places(self._read(), min_quality=self.wanted.min_quality)

    @property
    def good(self) -> int:
        """How many queries have a good answer."""
        return sum(place.good is not None for place in self.found.values())

    @property
    def numbers(self) -> list[int]:
        """Numbers of the traces of every query that has a good answer: what a later reading needs of this period."""
        return sorted(each[1] for place in self.found.values() if place.good for each in (place.good, place.bad) if each)

    def rows(self, redactor: Redactor | None = None) -> Iterator[dict[str, Any]]:
        """Give the rows, without secrets and personal data where a redactor is given."""
        return rows_of(self._read(), self.found, self.wanted.form, redactor)

    def _read(self) -> Iterator[Answer]:
        for number, answer in enumerate(answers(self.reader, self.wanted.period), 1):
            self.seen(number)
            if self.wanted.split in (None, answer.split):
                yield answer


def exported(reader: ArchiveReader, wanted: Wanted, seen: Callable[[int], None] = lambda _: None, redactor: Redactor | None = None) -> Iterator[dict[str, Any]]:
    """Give what is to be written; see `Export`."""
    return Export(reader, wanted, seen).rows(redactor)


def rows_of(read: Iterable[Answer], found: dict[bytes, Place], form: Form, redactor: Redactor | None = None) -> Iterator[dict[str, Any]]:
    """Write the rows of some answers, among which the best and worst of each query were found."""
    rows = (_preference(better, worse) for better, worse in preferred(read, found)) if form == "preference" else map(_chat, chosen(read, found))
    return rows if redactor is None else _redacted(rows, redactor)


def _redacted(rows: Iterator[dict[str, Any]], redactor: Redactor) -> Iterator[dict[str, Any]]:
    """Redact rows; of a pair that differed only in what is taken out nothing is left to prefer."""
    for row in rows:
        clean = row | redactor.sample({name: row[name] for name in TEXTS if name in row})
        if "chosen" not in clean or clean["chosen"] != clean["rejected"]:
            yield clean


def _chat(answer: Answer) -> dict[str, Any]:
    return {"messages": answer.messages, **_told(answer), "trace_id": answer.trace_id, "score": answer.score}


def _preference(better: Answer, worse: Answer) -> dict[str, Any]:
    asked = better.messages[: _answered_at(better)]
    return {
        "prompt": asked,
        "chosen": better.messages[len(asked) :],
        "rejected": worse.messages[_answered_at(worse) :],
        **_told(better),
        "chosen_trace_id": better.trace_id,
        "rejected_trace_id": worse.trace_id,
        "chosen_score": better.score,
        "rejected_score": worse.score,
    }


def _told(answer: Answer) -> dict[str, Any]:
    return {"query_class": answer.query_class, "agent": answer.agent, "model": answer.model, "split": answer.split}


def _answered_at(answer: Answer) -> int:
    """Where a conversation's first message of the assistant stands."""
    return next((place for place, message in enumerate(answer.messages) if message.get("role") == "assistant"), len(answer.messages))
