"""Scores as they stood at a record of the archive, so that a rating counts in the period in which it came, and in no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from stream.archive.blocks import Entry, Kind
from stream.archive.reader import ArchivedTrace, ArchiveReader, Rating
from stream.errors import MalformedRecordError
from stream.fold.ratings import KIND_NUMBERS
from stream.reading.record import FeedbackReading, read_record

BATCH = 4_096
"""Words that are looked at together, so that traces which stand together are read together: at 100 bytes each."""


def as_of(reader: ArchiveReader, trace: ArchivedTrace, seq: int) -> ArchivedTrace:
    """Give a trace with the words that its raters had said up to a record.

    Only the last word of a rater is indexed; where one was said later, those before it are read again from the log.
    """
    if all(rating.seq <= seq for rating in trace.ratings):
        return trace
    words: dict[str, Rating] = {}
    trace_id = trace.entry.trace_id or ""
    has_earlier = any(place <= seq and not is_trace for place, is_trace in reader.places(trace_id))
    for entry in reader.about(trace_id, until=seq) if has_earlier else ():
        if entry.kind is Kind.FEEDBACK and (said := _rating(entry)) is not None:
            words[said.rater] = max(words.get(said.rater, said), said, key=_rank)
    return replace(trace, ratings=tuple(words[rater] for rater in sorted(words)))


def rated_late(reader: ArchiveReader, *, after_seq: int, until: int) -> Iterator[ArchivedTrace]:
    """List the traces that were archived up to a record and rated after it, each once, with the words up to another record; in bounded memory.

    Args:
        reader: of the archive.
        after_seq: number of the record.
        until: number of the last record that counts.
    """
    said = reader.feedback(after_seq=after_seq, until=until)
    while batch := list(islice(said, BATCH)):
        words = dict(batch)
        firsts = {first for trace_id in words.values() if (first := _first(reader, trace_id)) <= after_seq}
        for found in reader.numbered(firsts):
            trace = as_of(reader, found, until)
            if words.get(max((rating.seq for rating in trace.ratings), default=0)) == trace.entry.trace_id:  # of several words, at the last that counts
                yield trace


def _first(reader: ArchiveReader, trace_id: str) -> int:
    """Number of a trace's record; beyond all where it has none. Another id may share its hash: then its last word is none of the batch's."""
    return next((place for place, is_trace in reader.places(trace_id) if is_trace), 2**63)


def _rating(entry: Entry) -> Rating | None:
    try:
        said = read_record(entry.value, max_bytes=len(entry.value or b""), classify=lambda _: "any")
    except MalformedRecordError:
        return None
    if not isinstance(said, FeedbackReading):
        return None
    return Rating(rater=said.rater, kind=said.rater_kind, micro=said.micro, given_at_s=said.given_at_s, seq=entry.seq)


def _rank(rating: Rating) -> tuple[float, int, int]:
    """How the fold orders a rater's words: see `stream.fold.ratings.Word`."""
    return rating.given_at_s, rating.micro, KIND_NUMBERS[rating.kind]
