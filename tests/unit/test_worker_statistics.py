"""Totals go out at once while there is room, and no more often than once a second each when there is not."""

from __future__ import annotations

import asyncio

import pytest

from stream.records import Arm, ArmStatistics, PartitionStatistics
from stream.worker import statistics as module
from stream.worker.holdings import HeldPartition, Holdings
from stream.worker.statistics import Allowance, StatisticsPublisher


class Totals:
    """A partition's state, as far as it is asked for totals."""

    def __init__(self, number: int, *, bytes_each: int = 100) -> None:
        self.number, self.bytes_each = number, bytes_each
        self.changed: set[str] = set()
        self.classes: dict[str, bool] = {}

    def change(self, *classes: str, has_arms: bool = True) -> None:
        self.changed |= set(classes)
        self.classes |= dict.fromkeys(classes, has_arms)

    def take_changed_classes(self) -> set[str]:
        taken, self.changed = self.changed, set()
        return taken

    def all_classes(self) -> list[str]:
        return [name for name, has_arms in self.classes.items() if has_arms]

    def statistics(self, name: str) -> PartitionStatistics:
        arms = (ArmStatistics(arm=Arm(model="m" * self.bytes_each), buckets=()),) if self.classes[name] else ()
        return PartitionStatistics(fold="f", partition=self.number, offset=1, log_time_ms=0, query_class=name, arms=arms)


class Sure:
    certain = True

    def is_certain(self, topic: str, partition: int) -> bool:
        return self.certain


class Desk:
    """A publisher with one partition, and what it has sent."""

    def __init__(self, *, bytes_each: int = 100) -> None:
        self.sent: list[tuple[bytes, bytes | None]] = []
        self.is_active, self.ownership, self.totals = True, Sure(), Totals(3, bytes_each=bytes_each)
        self.held = HeldPartition(state=self.totals, changelog=None)  # type: ignore[arg-type]
        self.holdings = Holdings()
        self.holdings.hold(self.held)
        self.publisher = StatisticsPublisher(self.holdings, send=self._send, ownership=self.ownership, fold="f", is_active=lambda: self.is_active)  # type: ignore[arg-type]

    async def _send(self, topic, partition, key, value, headers=()):
        self.sent.append((key, value))
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged

    async def change(self, *classes: str, at_s: float) -> list[bytes]:
        """Change classes, publish, and return the keys that went out."""
        self.totals.change(*classes)
        self.publisher.changed(self.held)
        return await self.publish(at_s)

    async def publish(self, at_s: float) -> list[bytes]:
        before = len(self.sent)
        await self.publisher.publish(at_s)
        return [key for key, _ in self.sent[before:]]


def test_allowance_fills_with_time_up_to_its_burst():
    """10 bytes a second: 40 left, after 3 s 70, after an hour no more than 100."""
    allowance = Allowance(bytes_per_s=10, burst_bytes=100)
    allowance.use(60, now_s=0.0)
    assert [allowance.left(now_s=at_s) for at_s in (0.0, 3.0, 3_600.0)] == [40.0, 70.0, 100.0]


def test_allowance_that_ran_low_is_ample_only_when_nearly_whole():
    """Under lasting load it would else be ample every few milliseconds, for one total and one decision each."""
    allowance = Allowance(bytes_per_s=10, burst_bytes=100)
    allowance.use(45, now_s=0.0)
    assert allowance.is_ample(now_s=0.0)
    allowance.use(10, now_s=0.0)
    assert [allowance.is_ample(now_s=at_s) for at_s in (0.0, 1.0, 4.4, 4.6)] == [False, False, False, True]


async def test_changed_class_goes_out_at_once_while_there_is_room():
    """A router hears of a trace within milliseconds, again and again."""
    desk = Desk()
    assert [await desk.change("code", at_s=at_s) for at_s in (0.0, 0.01, 0.02)] == [[b"f/3/code"]] * 3


async def test_class_waits_a_second_under_load(monkeypatch: pytest.MonkeyPatch):
    """The burst holds four totals: after two, half of it is gone, and the third waits until a second has passed."""
    desk = Desk()
    desk.totals.change("code")
    monkeypatch.setattr(desk.publisher, "_allowance", Allowance(bytes_per_s=0, burst_bytes=4 * len(module.encode(desk.totals.statistics("code")))))
    sent_at = [at_s for at_s in (0.0, 0.5, 0.9, 1.4, 1.6, 1.7) if await desk.change("code", at_s=at_s)]
    assert sent_at == [0.0, 0.5, 1.6]


async def test_all_partitions_of_a_class_go_together_under_load(monkeypatch: pytest.MonkeyPatch):
    """Whoever decides by them does so once a second, and not once for each partition; another class has its own turn."""
    desk, other = Desk(), Totals(4)
    desk.holdings.hold(HeldPartition(state=other, changelog=None))  # type: ignore[arg-type]
    desk.totals.change("code")
    monkeypatch.setattr(desk.publisher, "_allowance", Allowance(bytes_per_s=0, burst_bytes=10 * len(module.encode(desk.totals.statistics("code")))))
    desk.publisher._allowance.use(desk.publisher._allowance.left(0.0) * 0.6, 0.0)
    assert await desk.change("code", at_s=0.0) == [b"f/3/code"]
    other.change("code", "math")
    desk.publisher.changed(desk.holdings.get(4))  # type: ignore[arg-type]
    assert await desk.change("code", at_s=0.5) == [b"f/4/math"]
    assert sorted(await desk.publish(1.0)) == [b"f/3/code", b"f/4/code"]


async def test_a_class_whose_turn_has_begun_goes_whole(monkeypatch: pytest.MonkeyPatch):
    """There is room for one total and a bit: a class sent in pieces would be decided for with each of them."""
    desk, other = Desk(), Totals(4)
    desk.holdings.hold(HeldPartition(state=other, changelog=None))  # type: ignore[arg-type]
    desk.totals.change("code", "math")
    monkeypatch.setattr(desk.publisher, "_allowance", Allowance(bytes_per_s=0, burst_bytes=100 * len(module.encode(desk.totals.statistics("code")))))
    desk.publisher._allowance.use(desk.publisher._allowance.left(0.0) - 1, 0.0)
    other.change("code", "math")
    desk.publisher.changed(desk.held)
    desk.publisher.changed(desk.holdings.get(4))  # type: ignore[arg-type]
    sent = await desk.publish(0.0)
    assert sorted(sent) in ([b"f/3/code", b"f/4/code"], [b"f/3/math", b"f/4/math"])
    assert await desk.publish(9.0) == []


async def test_a_new_class_goes_before_those_that_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch):
    """Room for two totals after a second's wait, and three want it: nothing routes the new one yet."""
    desk = Desk()
    await desk.change("code", "math", at_s=0.0)
    size = len(module.encode(desk.totals.statistics("code")))
    monkeypatch.setattr(desk.publisher, "_allowance", Allowance(bytes_per_s=0, burst_bytes=10 * size))
    desk.publisher._allowance.use(9 * size - 1, 0.0)
    assert await desk.change("code", "math", at_s=0.5) == []
    assert (await desk.change("new", at_s=2.0))[0] == b"f/3/new"


async def test_classes_that_come_and_go_leave_nothing_behind():
    """A worker runs for months; classes that a sender made up an hour ago must not be remembered."""
    desk = Desk()
    for number in range(1_000):
        await desk.change(f"class {number}", at_s=float(number))
    assert len(desk.publisher._turns._last_s) <= module.REMEMBERED_S + 1
    assert not desk.publisher._turns._queue


class Eager:
    """Listens; notes what it hears and when it is to decide."""

    def __init__(self, sent: list[tuple[bytes, bytes | None]]) -> None:
        self.heard: list[tuple[str, int]] = []
        self.sent = sent

    def said(self, statistics: PartitionStatistics, value: bytes) -> None:
        assert value == module.encode(statistics)
        self.heard.append((statistics.query_class, len(self.sent)))

    async def decide(self, now_s: float) -> None:
        self.heard.append(("decide", len(self.sent)))


async def test_listener_decides_once_after_all_that_was_sent():
    """A class that has left says nothing to decide by; with nothing sent, nothing is decided."""
    desk = Desk()
    listener = Eager(desk.sent)
    desk.publisher.on_publish(listener)
    desk.totals.change("gone", has_arms=False)
    await desk.change("code", at_s=0.0)
    await desk.publish(1.0)
    assert listener.heard[-1] == ("decide", 2)
    assert [name for name, _ in listener.heard] == ["code", "decide"]


async def test_what_waited_goes_out_with_its_newest_total():
    """Coalescing loses nothing: a total is the running one."""
    desk = Desk()
    desk.ownership.certain = False
    assert await desk.change("code", at_s=0.0) == []
    desk.ownership.certain = True
    assert await desk.publish(5.0) == [b"f/3/code"]
    assert await desk.publish(6.0) == []


async def test_class_without_arms_leaves_the_topic():
    """Its buckets have aged out; a fresh reader must not find it any more."""
    desk = Desk()
    desk.totals.change("code", has_arms=False)
    desk.publisher.changed(desk.held)
    await desk.publish(0.0)
    assert desk.sent == [(b"f/3/code", None)]


async def test_inactive_fold_publishes_nothing_until_it_is_named():
    """Two folds side by side must not both speak; the one that is named says everything it holds."""
    desk = Desk()
    desk.is_active = False
    assert await desk.change("code", "math", at_s=0.0) == []
    desk.is_active = True
    desk.publisher.activated()
    assert sorted(await desk.publish(1.0)) == [b"f/3/code", b"f/3/math"]


async def test_new_owner_says_everything_again():
    """What its predecessor said last may never have reached the topic."""
    desk = Desk()
    desk.totals.classes = {"code": True, "gone": False}
    desk.publisher.took_over(desk.held)
    assert await desk.publish(0.0) == [b"f/3/code"]


async def test_what_has_just_changed_overtakes_what_a_takeover_says_again():
    """After a rebalance thousands of totals are due; a router must not wait for them to hear of a trace of now."""
    desk = Desk()
    desk.totals.change("old", "new")
    desk.totals.take_changed_classes()
    desk.publisher.took_over(desk.held)
    assert await desk.change("new", at_s=0.0) == [b"f/3/new", b"f/3/old"]


def test_small_total_counts_for_the_least_that_is_ever_taken():
    """A thousand small classes would else cost a thousand decisions a second; a large one counts for what it is."""
    allowance = Allowance(bytes_per_s=0, burst_bytes=100, least_bytes=30)
    allowance.use(1, now_s=0.0)
    allowance.use(50, now_s=0.0)
    assert allowance.left(now_s=0.0) == 20
