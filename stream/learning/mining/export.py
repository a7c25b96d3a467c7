"""What an export writes, line by line, in the forms that trainers read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stream.learning.mining.answers import Answer, answers
from stream.learning.mining.choosing import MIN_QUALITY, chosen, places, preferred
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
        agent: only of this one.
        query_class: only of this class.
        since_ms: log time, in epoch milliseconds, from which traces count.
        split: only of this side of the split; None: of all.
        min_quality: score, in [0, 1], from which an answer is good.
    """

    form: Form = "chat"
    agent: str | None = None
    query_class: str | None = None
    since_ms: int = 0
    split: Split | None = None
    min_quality: float = MIN_QUALITY


TEXTS = ("messages", "prompt", "chosen", "rejected")
"""Where a row holds what was said; the rest names things."""


def exported(reader: ArchiveReader, wanted: Wanted, seen: Callable[[int], None] = lambda _: None, redactor: Redactor | None = None) -> Iterator[dict[str, Any]]:
    """Give what is to be written, from two readings of the archive up to where it stands now.

    Args:
        reader: of the archive.
        wanted: what.
        seen: told how many answers were read so far, for whoever shows progress.
        redactor: takes secrets and personal data out of what was said; None leaves it as it was published.
    """
    until = reader.indexed

    def read() -> Iterator[Answer]:
        for number, answer in enumerate(answers(reader, agent=wanted.agent, query_class=wanted.query_class, since_ms=wanted.since_ms), 1):
            if answer.seq > until:
                return
            seen(number)
            if wanted.split in (None, answer.split):
                yield answer

    found = places(read(), min_quality=wanted.min_quality)
    rows = (_preference(better, worse) for better, worse in preferred(read(), found)) if wanted.form == "preference" else map(_chat, chosen(read(), found))
    yield from rows if redactor is None else _redacted(rows, redactor)


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
