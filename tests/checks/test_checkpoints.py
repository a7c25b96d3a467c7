"""Checkpoints recover to the oracle's state, whoever wrote them and whenever they were cut off; and each safeguard is needed.

The broken twins stop at the first schedule that notices; the seeds are those around which one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from stream.fold.changelog import Changelog
from tests.checks.schedules import Rules, run_schedules

SCHEDULES = 36


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make parts, tiers and the way from one full checkpoint to the next so small that a short log has many of them."""
    monkeypatch.setattr("stream.fold.checkpoint.PART_ROWS", 6)
    monkeypatch.setattr("stream.fold.checkpoint.PART_BUCKETS", 5)
    monkeypatch.setattr("stream.fold.changelog.FULL_EVERY", 4)
    monkeypatch.setattr("stream.fold.changelog.MERGE_FAN", 2)
    monkeypatch.setattr("stream.fold.changelog.MERGE_BELOW_ROWS", 5)


def test_checkpoints_recover_to_the_oracles_state() -> None:
    """Owners, zombies, crashes between any two writes, compaction and racing readers: what is recovered is what the log says."""
    seen = run_schedules(range(SCHEDULES), Rules())

    assert seen.mismatches == []
    assert seen.recoveries > 10 * SCHEDULES


def without_base_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.fold.recovery._stands_on", lambda base, end: True)


def without_completeness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.fold.recovery._Stored.is_complete", property(lambda stored: True))


def without_row_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.fold.recovery._check_rows", lambda state, rows: None)


def counting_on_others_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part go as soon as anyone's later part has its rows, not only this owner's."""
    know = Changelog.know

    def know_as_own(changelog: Changelog, key: bytes, end: int, seqs: Sequence[int]) -> None:
        know(changelog, key, end, seqs)
        if seqs:
            changelog._last_number += 1
            changelog._index_parts[key].number = changelog._last_number
        for seq in seqs:
            changelog._written_in[seq % changelog._horizon] = changelog._last_number

    monkeypatch.setattr(Changelog, "know", know_as_own)


def with_all_of_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break nothing in the recovery."""


@pytest.mark.parametrize(
    ("break_it", "rules", "seeds"),
    [
        pytest.param(without_base_check, Rules(compaction_lag=False), range(60), id="no base check"),
        pytest.param(without_completeness, Rules(), range(60), id="no completeness"),
        pytest.param(without_row_count, Rules(compaction_lag=False), range(10, 120), id="no row count"),
        pytest.param(with_all_of_recovery, Rules(id_per_checkpoint=False), range(60), id="an id per process"),
        pytest.param(counting_on_others_copies, Rules(), range(60), id="others' copies count"),
    ],
)
def test_checkpoints_without_a_safeguard_are_caught(break_it: Callable[[pytest.MonkeyPatch], None], rules: Rules, seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schedules find a wrong state once a safeguard is taken away, so that the test above means something."""
    break_it(monkeypatch)

    assert run_schedules(seeds, rules).mismatches
