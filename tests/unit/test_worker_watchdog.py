"""The watchdog ends a worker that is stuck, and leaves one alone that has nothing to do."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from stream import metrics
from stream.fold.checkpoint import recover
from stream.fold.spec import FoldSpec
from stream.transport.probe import LogView
from stream.worker import watchdog as module
from stream.worker.holdings import HeldPartition, Holdings
from stream.worker.watchdog import RECOVERING_S, STUCK_S, Watchdog

SPEC = FoldSpec(partitions=1, horizon=100, max_classes=10, max_arms=10, keep_minutes=1, keep_hours=1, keep_days=1, classifier="seed", max_record_bytes=20_000)


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class Setting:
    """A watchdog over one partition, whose log ends where a test says."""

    def __init__(self, clock: Clock) -> None:
        state, changelog = recover({}, number=0, spec=SPEC)
        self.clock, self.end = clock, 0
        self.app = SimpleNamespace(should_stop=False, rebalancing=False, tables=SimpleNamespace(actives_ready=True), high_watermark=lambda *_: self.end)
        self.held = HeldPartition(state=state, changelog=changelog)
        holdings = Holdings()
        holdings.hold(self.held)
        self.app.settings = SimpleNamespace(client_options={})
        self.records: list[int] = []
        self.watchdog = Watchdog(self.app, holdings, look=self.look)

    async def look(self, _: object, offsets: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], LogView]:
        return {place: LogView(start=0, end=self.end, record=next((at for at in self.records if at >= offset), None)) for place, offset in offsets.items()}


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return Setting(clock)


def test_progress_goes_on_while_there_is_nothing_to_fold(setting: Setting):
    """An alert on its age must not fire on a quiet system, nor on a worker without a partition; it must where records wait or recovery hangs."""
    noted = []
    for end, rebalancing in [(0, False), (5, False), (0, True)]:
        metrics.LAST_PROGRESS.set(0)
        setting.end, setting.app.rebalancing = end, rebalancing
        setting.watchdog.gauge()
        noted.append(metrics.LAST_PROGRESS._value.get() > 0)

    assert noted == [True, False, False]


def test_idle_worker_is_left_alone(setting: Setting):
    """Hours without a record are no fault, and the first record after them is not late."""
    for _ in range(3):
        setting.clock.advance(3_600)
        assert setting.watchdog.what_is_stuck() == ""
    setting.end = 1
    assert setting.watchdog.what_is_stuck() == ""


def test_worker_that_does_not_fold_is_stuck(setting: Setting):
    """Records lie there for longer than any time-out, and none is folded."""
    setting.end = 5
    assert setting.watchdog.what_is_stuck() == ""
    setting.clock.advance(STUCK_S + 1)
    assert "5 records to fold" in setting.watchdog.what_is_stuck()


async def test_log_that_ends_without_a_record_has_nothing_to_fold(setting: Setting):
    """The marker of a committed transaction is the last offset of a quiet partition: a worker that took it for a record would end every minute."""
    setting.end = 5
    setting.watchdog.what_is_stuck()
    setting.clock.advance(STUCK_S + 1)
    await setting.watchdog.look_for_records()
    assert setting.watchdog.what_is_stuck() == ""
    setting.end, setting.records = 7, [5]
    assert setting.watchdog.what_is_stuck() == "", "a record after it is not late yet"
    setting.clock.advance(STUCK_S + 1)
    await setting.watchdog.look_for_records()
    assert "2 records to fold" in setting.watchdog.what_is_stuck()


def test_worker_whose_checkpoints_hang_is_stuck(setting: Setting):
    """It folds, but nothing becomes durable: a restart would begin ever further back."""
    setting.held.state.offset = 3
    assert setting.watchdog.what_is_stuck() == ""
    setting.clock.advance(STUCK_S + 1)
    assert "durable to offset -1" in setting.watchdog.what_is_stuck()


def test_recovery_may_take_long_but_not_for_ever(setting: Setting):
    """A large changelog takes its time; one that is never read to its end holds the group's partitions hostage."""
    setting.app.tables.actives_ready = False
    assert setting.watchdog.what_is_missing() == "joining the group or recovering"
    setting.clock.advance(RECOVERING_S - 1)
    assert setting.watchdog.what_is_stuck() == ""
    setting.clock.advance(2)
    assert "no partition has been recovered" in setting.watchdog.what_is_stuck()
