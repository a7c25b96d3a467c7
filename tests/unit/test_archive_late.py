"""Ratings that come after their trace was read: each counts in the period in which it came."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from stream.archive.late import as_of, rated_late
from stream.archive.reader import ArchiveReader
from tests.unit.archive_support import Log, filled, no_archive_left_open  # noqa: F401 - a fixture

TRACES = 12


def rated_log(seed: int) -> Log:
    """Traces, and words on them in any order: revised, out of date when they come, by raters of all kinds, before their trace, on traces that are not there."""
    rng, log, waiting = random.Random(seed), Log(), list(range(TRACES))
    for number in range(80):
        if waiting and rng.random() < 0.3:
            log.trace(f"t{waiting.pop(0)}", query="q", result="r")
        else:
            name, kind = rng.choice((("ann", "human"), ("ben", "human"), ("judge", "judge"), ("check", "program")))
            log.feedback(f"t{rng.randrange(TRACES + 1)}", rng.randrange(11) / 10, rater=name, kind=kind, given_at=float(rng.randrange(20) if rng.random() < 0.5 else number))
    return log


@pytest.mark.parametrize("seed", range(6))
async def test_score_at_a_record_is_that_of_an_archive_that_ends_there(tmp_path: Path, seed: int) -> None:
    """The oracle is an archive of the first records alone: at each of some cuts every trace has there the score that it has in it."""
    log = rated_log(seed)
    whole = await filled(tmp_path / "whole", log)
    for cut in (20, 45, 70):
        part = Log()
        part.records = log.records[:cut]
        ended = await filled(tmp_path / str(cut), part)
        with ArchiveReader(whole) as reader, ArchiveReader(ended) as oracle:
            found = {trace.entry.trace_id: as_of(reader, trace, cut).score() for trace in reader.traces() if trace.entry.seq <= cut}
            assert found == {trace.entry.trace_id: trace.score() for trace in oracle.traces()}


@pytest.mark.parametrize("seed", range(6))
async def test_trace_that_was_rated_late_is_listed_once(tmp_path: Path, seed: int) -> None:
    """In each period those are listed, once, whose words at its end are others than at its beginning, of the traces that were there by then."""
    path = await filled(tmp_path, rated_log(seed))
    with ArchiveReader(path) as reader:
        for after, until in ((20, 45), (45, 70), (20, 80)):
            listed = [(trace.entry.trace_id, trace.ratings) for trace in rated_late(reader, after_seq=after, until=until)]

            words = {trace.entry.trace_id: [as_of(reader, trace, seq).ratings for seq in (after, until)] for trace in reader.traces() if trace.entry.seq <= after}
            assert sorted(listed) == sorted((trace_id, then) for trace_id, (before, then) in words.items() if before != then)
