"""A term of the routing's owner: it reads first, claims once, publishes, and repairs what a zombie has overwritten."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec

from stream.records import Override, PartitionStatistics, RoutingUpdate
from stream.routing.state import RoutingState
from stream.tables.class_statistics import ClassStatistics
from stream.tables.routing_state import RoutingLedger
from stream.topics import OVERRIDES, ROUTING, STATISTICS
from stream.worker.routing_term import QUIET_S, RoutingTerm


def update(query_class: str = "code", version: tuple[int, int] = (1, 1)) -> RoutingUpdate:
    return RoutingUpdate(
        query_class=query_class, fold="f", policy="p", version=version, log_time_ms=0, exploration_share=0.1, interval_method="i", alpha=0.1, best_arm=None, reason="", arms=()
    )


def total(offset: int, log_time_ms: int = 0) -> PartitionStatistics:
    return PartitionStatistics(fold="f", partition=0, offset=offset, log_time_ms=log_time_ms, query_class="code", arms=())


def record(topic: str, offset: int, key: str, value: object) -> SimpleNamespace:
    return SimpleNamespace(topic=topic, partition=0, offset=offset, key=key.encode(), value=value if value is None or isinstance(value, bytes) else msgspec.json.encode(value))


class ScriptedDesk:
    """Has one update due after each record it learns; notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.state = RoutingState()
        self.superseded_by: int | None = None
        self.greatest_epoch = 4
        self.updates: list[RoutingUpdate] = []

    def claim(self, epoch: int) -> None:
        self.state, self.superseded_by = RoutingState(epoch=epoch), None

    def learn(self, statistics: PartitionStatistics) -> None:
        self.told.append(("learn", statistics.offset))
        self.updates.append(update())

    def forget_class(self, key: str) -> None:
        self.told.append(("forget", key))

    def override(self, key: str, override: Override | None) -> None:
        self.told.append(("override", key))

    def saw_update(self, seen: RoutingUpdate | None, key: str) -> None:
        self.told.append(("saw", key))

    def due(self, now_s: float) -> list[RoutingUpdate]:
        due, self.updates = self.updates, []
        self.state = msgspec.structs.replace(self.state, counter=self.state.counter + len(due))
        return due

    def retired(self) -> list[str]:
        return []


class Office:
    """A term with its surroundings."""

    def __init__(self, ends: dict[str, int]) -> None:
        self.desk, self.sent, self.kept, self.claims, self.may_write = ScriptedDesk(), [], [], [], True
        self.term = RoutingTerm(
            self.desk,  # type: ignore[arg-type]
            statistics=ClassStatistics(keep_ms=1_000),
            ledger=self,
            send=self._send,
            ends=ends,
            fold="f",
            may_write=lambda: self.may_write,
        )

    async def _send(self, topic, partition, key, value, headers=()):
        self.sent.append((topic, key, value))
        return asyncio.get_running_loop().create_future()

    async def claim(self, *, above: int) -> int:
        self.claims.append(above)
        return above + 1

    async def keep(self, state: RoutingState) -> list[asyncio.Future[object]]:
        self.kept.append(state.version)
        return []

    def take(self, topic: str, *records: SimpleNamespace) -> None:
        self.term.read(topic, list(records))

    def topics_sent(self) -> list[str]:
        return [topic for topic, _, _ in self.sent]


async def test_term_publishes_nothing_before_it_has_read_to_the_ends():
    """Half of the evidence must not route anybody; afterwards the epoch lies above every one seen."""
    office = Office({STATISTICS.name: 2, OVERRIDES.name: 1, ROUTING.name: 0})
    office.take(STATISTICS.name, record(STATISTICS.name, 0, "f/0/code", total(5)))
    office.take(OVERRIDES.name, record(OVERRIDES.name, 0, "pin/code", Override(kind="pin")))
    await office.term.publish(office.term._read_s + 0.1)
    assert office.claims == office.sent == []
    office.take(STATISTICS.name, record(STATISTICS.name, 1, "f/0/code", total(6)))
    await office.term.publish(office.term._read_s + 0.1)
    assert office.claims == [4]
    assert office.topics_sent() == [ROUTING.name] * 2


async def test_term_begins_when_what_is_left_was_cleaned_away():
    """The broker may have removed the last records of a compacted topic: after a while of silence it counts as read."""
    office = Office({STATISTICS.name: 10, OVERRIDES.name: 0, ROUTING.name: 0})
    await office.term.publish(office.term._read_s + QUIET_S + 0.1)
    assert office.claims == [4]


async def test_term_writes_nothing_without_certain_ownership():
    """A zombie's routes would outlive it on a compacted topic."""
    office = Office({})
    office.may_write = False
    office.take(STATISTICS.name, record(STATISTICS.name, 0, "f/0/code", total(5)))
    await office.term.publish(1.0)
    assert office.sent == office.claims == []


async def test_term_writes_again_what_a_zombie_has_overwritten():
    """A fresh reader of the compacted topic would end on the older total."""
    office = Office({})
    office.take(STATISTICS.name, record(STATISTICS.name, 0, "f/0/code", total(9)), record(STATISTICS.name, 1, "f/0/code", total(5)))
    await office.term.publish(1.0)
    assert (STATISTICS.name, b"f/0/code", msgspec.json.encode(total(9))) in office.sent
    assert [offset for word, offset in office.desk.told if word == "learn"] == [9]


async def test_term_leaves_an_older_total_that_is_followed_by_the_newest():
    """Nothing needs repair when the owner has said the newest itself meanwhile."""
    office = Office({})
    office.take(STATISTICS.name, *[record(STATISTICS.name, place, "f/0/code", total(offset)) for place, offset in enumerate((9, 5, 9))])
    await office.term.publish(1.0)
    assert STATISTICS.name not in office.topics_sent()


async def test_term_hears_of_its_own_totals_before_they_come_back():
    """It decides by them at once; read back they say nothing new, and a tombstone between two of them is taken where it stands."""
    office = Office({})
    await office.term.publish(1.0)
    office.term.said(total(9), msgspec.json.encode(total(9)))
    await office.term.decide(1.0)
    assert office.topics_sent() == [ROUTING.name]
    office.take(STATISTICS.name, record(STATISTICS.name, 0, "f/0/code", None), record(STATISTICS.name, 1, "f/0/code", total(9)))
    assert office.desk.told == [("learn", 9), ("forget", "f/0/code"), ("learn", 9)]


async def test_term_takes_what_was_sent_before_for_no_zombies():
    """Of its own totals the newest is known before the older ones have come back: nothing was overwritten."""
    office = Office({})
    for offset in (5, 9):
        office.term.said(total(offset), msgspec.json.encode(total(offset)))
    office.take(STATISTICS.name, *[record(STATISTICS.name, place, "f/0/code", total(offset)) for place, offset in enumerate((5, 9))])
    await office.term.publish(1.0)
    assert STATISTICS.name not in office.topics_sent()


async def test_term_decides_nothing_early_before_it_has_claimed():
    """A claim waits for the broker, and whoever folds must not."""
    office = Office({})
    office.term.said(total(9), msgspec.json.encode(total(9)))
    await office.term.decide(1.0)
    assert office.claims == office.sent == []


async def test_total_may_go_back_after_a_tombstone():
    """A log that was made anew begins below what was said of the old one; its owner retires that first."""
    office = Office({})
    office.take(STATISTICS.name, record(STATISTICS.name, 0, "f/0/code", total(9)), record(STATISTICS.name, 1, "f/0/code", None), record(STATISTICS.name, 2, "f/0/code", total(5)))
    await office.term.publish(1.0)
    assert office.desk.told == [("learn", 9), ("forget", "f/0/code"), ("learn", 5)]
    assert STATISTICS.name not in office.topics_sent()


async def test_total_of_which_nothing_is_kept_leaves_the_topic():
    """2,000 ms of log time later than 1,000 ms are kept: the old class goes."""
    office = Office({})
    office.take(STATISTICS.name, record(STATISTICS.name, 0, "f/0/old", total(1)), record(STATISTICS.name, 1, "f/0/code", total(9, log_time_ms=2_000)))
    await office.term.publish(1.0)
    assert (STATISTICS.name, b"f/0/old", None) in office.sent


async def test_term_claims_again_when_it_was_superseded_though_it_owns():
    """A switch of folds: the other fold's owner had the greater epoch, and has stopped. Not twice within a second."""
    office = Office({})
    await office.term.publish(1.0)
    office.desk.superseded_by = office.desk.greatest_epoch = 9
    await office.term.publish(1.5)
    assert office.claims == [4]
    await office.term.publish(2.5)
    assert office.claims == [4, 9]


async def test_state_is_kept_at_most_once_a_second():
    """The changelog must not grow with every update."""
    office = Office({})
    for place, at_s in enumerate((1.0, 1.2, 1.4, 2.3)):
        office.take(STATISTICS.name, record(STATISTICS.name, place, "f/0/code", total(place)))
        await office.term.publish(at_s)
    assert office.kept == [(5, 1), (5, 4)]


async def test_garbage_on_the_topics_is_left_out():
    """Anyone may write to `eddy.overrides`; a record that cannot be read stops nobody."""
    office = Office({})
    office.take(OVERRIDES.name, record(OVERRIDES.name, 0, "pin/code", b"{not json"))
    office.take(ROUTING.name, record(ROUTING.name, 0, "code", b"\xff"), record(ROUTING.name, 1, "code", update()))
    office.take(STATISTICS.name, record(STATISTICS.name, 0, "f/0/code", b"[]"))
    assert office.desk.told == [("saw", "code")]


class Changelog:
    """The table as the ledger sees it, and the producer to it."""

    changelog = "routing_state-changelog"

    def __init__(self, **parts: bytes) -> None:
        self.parts = {key.replace("_", "/").encode(): value for key, value in parts.items()}
        self.sent: list[tuple[bytes, bytes | None]] = []

    def take(self, partition: int) -> dict[bytes, bytes]:
        return self.parts

    async def send(self, topic, partition, key, value, headers=()):
        self.sent.append((key, value))
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(SimpleNamespace(offset=40 + len(self.sent)))
        return sent


def ledger_of(changelog: Changelog) -> RoutingLedger:
    return RoutingLedger(changelog, send=changelog.send, worker="w")  # type: ignore[arg-type]


def test_ledger_recovers_the_state_of_the_greatest_epoch():
    """A zombie's state, written later under its own epoch, does not win."""
    changelog = Changelog(state_10=RoutingState(epoch=10, counter=3).encode(), state_9=RoutingState(epoch=9, counter=99).encode(), claim=b"{}")
    assert ledger_of(changelog).recover().version == (10, 3)


async def test_ledger_claims_by_the_offset_of_its_claim_or_above_what_was_seen():
    """Claims in one changelog follow each other; the offset of this one is 41. Of another fold's epochs only the topic tells."""
    assert await ledger_of(Changelog()).claim(above=7) == 41
    assert await ledger_of(Changelog()).claim(above=90) == 91


async def test_ledger_retires_older_states_and_ends_with_its_own():
    """The changelog stays small, and never ends with a tombstone."""
    changelog = Changelog(state_3=RoutingState(epoch=3).encode())
    ledger = ledger_of(changelog)
    ledger.recover()
    await ledger.keep(RoutingState(epoch=8, counter=1))
    await ledger.keep(RoutingState(epoch=8, counter=2))
    assert [(key, value is None) for key, value in changelog.sent] == [(b"state/3", True), (b"state/8", False), (b"state/8", False)]
