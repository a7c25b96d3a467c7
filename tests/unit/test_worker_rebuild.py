"""Where a recovered state goes on in its log, and how a log that was made anew is told from one that retention has shortened."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from stream.errors import LogGapError
from stream.fold.checkpoint import recover, write_checkpoint
from stream.fold.fold import begin_epoch, fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.reading.query_class import classify_query
from stream.transport.probe import LogView
from stream.worker import continuity, rebuild
from stream.worker.continuity import Continuity
from stream.worker.rebuild import is_another_log

SPEC = FoldSpec(partitions=1, horizon=100, max_classes=10, max_arms=10, keep_minutes=1, keep_hours=1, keep_days=1, classifier="seed", max_record_bytes=20_000)


def record(offset: int, model: str = "m") -> SimpleNamespace:
    value = json.dumps({"trace_id": f"t{offset}", "query": "hi", "model": model}).encode()
    return SimpleNamespace(offset=offset, timestamp=1_700_000_000_000 + offset, key=f"t{offset}".encode(), value=value)


def folded(count: int = 3) -> PartitionState:
    """A state of the records 0 to count - 1."""
    state = PartitionState(0, SPEC)
    if count:
        fold(state, [record(offset) for offset in range(count)], classify_query)
    return state


def view(*, start: int = 0, end: int = 10, at: SimpleNamespace | None = None) -> LogView:
    return LogView(start=start, end=end, record=at)


def test_log_with_the_remembered_record_is_the_same():
    """The record at the state's offset is the one that was folded there."""
    assert not is_another_log(folded(), view(at=record(2)))


@pytest.mark.parametrize(
    "seen",
    [view(at=record(2, model="other")), view(end=2, at=None), view(end=0, at=None), view(at=record(3)), view(at=None)],
    ids=["another record stands there", "it ends before", "it is empty", "no record stands there", "nothing is read"],
)
def test_log_without_the_remembered_record_was_made_anew(seen: LogView):
    """Each of these cannot be the log that was folded; numbering on in it as if it were would skip its records as replays."""
    assert is_another_log(folded(), seen)


def test_log_whose_start_moved_beyond_the_state_was_shortened_by_retention():
    """Nothing is left to compare, and retention is the usual reason: what is missing counts as lost, not as an epoch."""
    assert not is_another_log(folded(), view(start=5, at=record(5)))


@pytest.mark.parametrize("seen", [view(end=0), view(at=record(0)), view(start=4, at=record(4))])
def test_state_that_folded_nothing_fits_any_log(seen: LogView):
    """A fresh fold begins wherever the log does."""
    assert not is_another_log(folded(0), seen)


def test_state_that_has_just_begun_an_epoch_fits_the_new_log():
    """A checkpoint may be written between the beginning of an epoch and its first record; it must not begin another."""
    state = folded()
    begin_epoch(state, 0)
    assert state.position == 0
    assert not is_another_log(state, view(at=record(0, model="other")))


class CutLog:
    """A log that has lost its end, and what its worker had written down before."""

    def __init__(self, *, folded: int, left: int, kept_from: int = 0) -> None:
        self.records = [record(offset) for offset in range(folded)]
        self.now = [*self.records[kept_from:left], *[record(offset, model="later") for offset in range(left, left + 3)]]
        self.parts: dict[bytes, bytes] = {}
        state, changelog = recover({}, number=0, spec=SPEC)
        for start in range(0, folded, 10):
            fold(state, self.records[start : start + 10], classify_query)
            checkpoint = write_checkpoint(state, changelog, checkpoint_id=bytes([start // 10]) * 16, full=changelog.full_is_due(state))
            self.parts |= dict(checkpoint.parts)
            for dead in changelog.acknowledged(checkpoint):
                del self.parts[dead]

    async def look(self, _: object, offsets: dict[tuple[str, int], int]) -> dict[tuple[str, int], LogView]:
        return {place: self.view(offset) for place, offset in offsets.items()}

    def view(self, offset: int) -> LogView:
        return view(start=self.now[0].offset, end=self.now[-1].offset + 1, at=next((one for one in self.now if one.offset >= offset), None))


@pytest.mark.parametrize("left", [991, 955, 996, 998])
async def test_log_that_has_lost_its_end_counts_nothing_twice(monkeypatch: pytest.MonkeyPatch, left: int):
    """Ten times the horizon was folded when the broker lost its last records: all before them is known, and only what came since counts."""
    log = CutLog(folded=1_000, left=left)
    monkeypatch.setattr(rebuild, "look", log.look)

    (placed,) = await rebuild.rebuild([0], take=lambda _: log.parts, spec=SPEC, client_options={})
    state = placed.held.state
    fold(state, [one for one in log.now if one.offset >= placed.read_from], classify_query)

    assert placed.is_anew
    assert placed.read_from <= left
    assert state.counters.traces == 1_000 + sum(one.offset >= 1_000 for one in log.now)


async def test_log_that_was_made_anew_is_read_from_its_start(monkeypatch: pytest.MonkeyPatch):
    """None of the records remembered stands where it stood."""
    log = CutLog(folded=200, left=0)
    log.now = [record(offset, model="other") for offset in range(500)]
    monkeypatch.setattr(rebuild, "look", log.look)

    (placed,) = await rebuild.rebuild([0], take=lambda _: log.parts, spec=SPEC, client_options={})

    assert (placed.is_anew, placed.read_from) == (True, 0)


async def test_chunk_that_follows_passes_without_a_look_at_the_log():
    """The usual case costs nothing."""
    await Continuity({}).check(folded(), [record(3)])


async def test_hole_of_the_log_itself_is_skipped(monkeypatch: pytest.MonkeyPatch):
    """Transaction markers take offsets: no record is missing."""
    state = folded()
    _let_see(monkeypatch, view(at=record(5)))
    await Continuity({}).check(state, [record(5)])
    assert (state.position, state.counters.holes, state.counters.lost) == (5, 2, 0)


async def test_hole_made_by_retention_is_counted_as_lost(monkeypatch: pytest.MonkeyPatch):
    """Records that were removed before they were folded are gone, and it must be seen that they are."""
    state = folded()
    _let_see(monkeypatch, view(start=6, at=record(6)))
    await Continuity({}).check(state, [record(6)])
    assert (state.position, state.counters.holes, state.counters.lost) == (6, 0, 3)


async def test_gap_that_the_log_does_not_have_is_fatal(monkeypatch: pytest.MonkeyPatch):
    """A chunk went missing between broker and agent: going on would lose it for ever."""
    _let_see(monkeypatch, view(at=record(3)))
    with pytest.raises(LogGapError, match="3 is next and the log has it"):
        await Continuity({}).check(folded(), [record(5)])


async def test_chunk_delivered_again_passes():
    """The fold skips what it has folded."""
    await Continuity({}).check(folded(), [record(1), record(2), record(3)])


async def test_chunk_of_another_log_is_fatal():
    """A log that was made anew under a running worker must not be skipped as a replay."""
    with pytest.raises(LogGapError, match="another log"):
        await Continuity({}).check(folded(), [record(0, model="other")])


def _let_see(monkeypatch: pytest.MonkeyPatch, seen: LogView) -> None:
    async def look(_: object, offsets: dict[tuple[str, int], int]) -> dict[tuple[str, int], LogView]:
        return dict.fromkeys(offsets, seen)

    monkeypatch.setattr(continuity, "look", look)
