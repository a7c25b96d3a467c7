"""The order in which a checkpoint becomes durable is promise P5; each test takes one step away."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

from stream.fold.checkpoint import recover
from stream.fold.fold import fold
from stream.fold.spec import FoldSpec
from stream.reading.query_class import classify_query
from stream.worker.checkpointer import Checkpointer
from stream.worker.effects import Effects
from stream.worker.holdings import HeldPartition, Holdings

SPEC = FoldSpec(partitions=1, horizon=100, max_classes=10, max_arms=10, keep_minutes=1, keep_hours=1, keep_days=1, classifier="seed", max_record_bytes=20_000)
CHANGELOG = "changelog"


class SlowBroker:
    """Keeps what is sent, and acknowledges it when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes | None, bytes | None]] = []
        self.open: list[asyncio.Future[None]] = []

    async def __call__(self, topic, partition, key, value, headers=()):
        self.sent.append((topic, partition, key, value))
        self.open.append(asyncio.get_running_loop().create_future())
        return self.open[-1]

    async def acknowledge(self) -> None:
        for future in self.open:
            if not future.done():
                future.set_result(None)
        await settle()

    def standing(self) -> dict[bytes, bytes]:
        """What a compacted topic holds in the end."""
        values: dict[bytes, bytes] = {}
        for _, _, key, value in self.sent:
            values.pop(key or b"", None)
            if value is not None:
                values[key or b""] = value
        return values


class Doubt:
    """Ownership that can be put in doubt."""

    certain = True

    def is_certain(self, topic: str, partition: int) -> bool:
        return self.certain


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def new_partition() -> HeldPartition:
    state, changelog = recover({}, number=0, spec=SPEC)
    return HeldPartition(state=state, changelog=changelog)


def fold_more(held: HeldPartition, count: int = 3) -> None:
    first = held.state.position
    records = [
        SimpleNamespace(offset=offset, timestamp=1_700_000_000_000, key=f"t{offset}".encode(), value=json.dumps({"trace_id": f"t{offset}", "model": "m"}).encode())
        for offset in range(first, first + count)
    ]
    fold(held.state, records, classify_query)


def new_checkpointer(held: HeldPartition, broker: SlowBroker, ownership: Doubt) -> Checkpointer:
    holdings = Holdings()
    holdings.hold(held)
    return Checkpointer(holdings, send=broker, ownership=ownership, changelog=CHANGELOG, interval_s=1.0, every_records=1_000)  # type: ignore[arg-type]


async def test_state_is_durable_only_when_all_parts_are_acknowledged():
    """What may be committed moves with the acknowledgement, not with the send."""
    held, broker = new_partition(), SlowBroker()
    fold_more(held)
    finishing = asyncio.create_task(new_checkpointer(held, broker, Doubt()).finish())
    await settle()
    assert broker.sent
    assert held.committable is None
    await broker.acknowledge()
    await finishing
    assert held.committable == 3
    assert recover(broker.standing(), number=0, spec=SPEC)[0].canonical() == held.state.canonical()


async def test_parts_wait_for_the_effects_that_they_cover():
    """A dead letter that was never acknowledged must be sent again after a crash, so no checkpoint may lie behind it."""
    held, broker = new_partition(), SlowBroker()
    fold_more(held)
    letter = asyncio.get_running_loop().create_future()
    held.effects.append(letter)
    finishing = asyncio.create_task(new_checkpointer(held, broker, Doubt()).finish())
    await settle()
    assert broker.sent == []
    letter.set_result(None)
    await settle()
    assert broker.sent
    await broker.acknowledge()
    await finishing


async def test_no_checkpoint_is_taken_while_effects_are_still_to_be_sent():
    """The producer may hold up the second dead letter of a chunk: a checkpoint taken then would cover a record whose letter nobody has sent."""
    held, broker = new_partition(), SlowBroker()
    first = held.state.position
    records = [SimpleNamespace(offset=first + n, timestamp=1_700_000_000_000, key=b"t", value=b"{not json") for n in range(2)]
    let_go = asyncio.Event()

    async def held_up(topic, partition, key, value, headers=()):
        await let_go.wait()
        return await broker(topic, partition, key, value)

    publishing = asyncio.create_task(Effects(held_up, max_record_bytes=20_000).publish(held, fold(held.state, records, classify_query), records))
    await settle()
    checkpointer = new_checkpointer(held, broker, Doubt())
    await checkpointer.finish()
    assert broker.sent == []
    let_go.set()
    await publishing
    finishing = asyncio.create_task(checkpointer.finish())
    for _ in range(3):
        await broker.acknowledge()
    await finishing
    assert [topic for topic, *_ in broker.sent][:2] == ["eddy.traces.dlt"] * 2
    assert held.committable == first + 2


async def test_a_chunk_that_comes_right_after_a_checkpoint_is_due_is_not_covered_by_it():
    """The task that writes runs later than the moment it was started: what is folded in between has effects that are still to be sent."""
    held, broker = new_partition(), SlowBroker()
    fold_more(held)

    finishing = asyncio.create_task(new_checkpointer(held, broker, Doubt()).finish())
    while held.writing is None:
        await asyncio.sleep(0)
    fold_more(held)
    held.is_sending = True
    await settle()
    await broker.acknowledge()
    await finishing

    assert held.committable == 3


async def test_parts_wait_until_ownership_is_certain():
    """A heartbeat that is late for a moment costs a delay, not the delta: what it held has been taken from the state."""
    held, broker, ownership = new_partition(), SlowBroker(), Doubt()
    ownership.certain = False
    fold_more(held)
    finishing = asyncio.create_task(new_checkpointer(held, broker, ownership).finish())
    await asyncio.sleep(0.12)
    assert broker.sent == []
    ownership.certain = True
    await asyncio.sleep(0.12)
    await broker.acknowledge()
    await finishing
    assert held.committable == 3


async def test_checkpoint_of_a_partition_that_was_taken_away_is_dropped():
    """Whoever has lost a partition writes nothing more for it."""
    held, broker, ownership = new_partition(), SlowBroker(), Doubt()
    ownership.certain = False
    fold_more(held)
    finishing = asyncio.create_task(new_checkpointer(held, broker, ownership).finish())
    await settle()
    held.is_held = False
    await finishing
    assert broker.sent == []
    assert held.committable is None


async def test_changelog_never_ends_with_a_tombstone():
    """Faust reads a changelog up to the offset before its end; a tombstone there may be cleaned away, and it would wait for ever."""
    held, broker = new_partition(), SlowBroker()
    checkpointer = new_checkpointer(held, broker, Doubt())
    for _ in range(45):
        fold_more(held)
        finishing = asyncio.create_task(checkpointer.finish())
        while not finishing.done():
            await settle()
            await broker.acknowledge()
    tombstones = [place for place, (_, _, _, value) in enumerate(broker.sent) if value is None]
    assert tombstones, "45 checkpoints hold two full ones, which retire what they replace"
    assert all(broker.sent[place + 1][3] is not None or place + 1 in tombstones for place in tombstones)
    assert broker.sent[-1][3] is not None
    assert recover(broker.standing(), number=0, spec=SPEC)[0].canonical() == held.state.canonical()


async def test_checkpoints_come_at_the_interval_or_after_enough_records():
    """At rest nothing is written; under load a crash costs no more than so many records."""
    held, broker = new_partition(), SlowBroker()
    checkpointer = new_checkpointer(held, broker, Doubt())
    assert not checkpointer._is_due(held, now_s=0.0)
    fold_more(held)
    held.checkpoint_due_s = 10.0
    assert not checkpointer._is_due(held, now_s=9.9)
    assert checkpointer._is_due(held, now_s=10.0)
    held.folded = 1_000
    assert checkpointer._is_due(held, now_s=9.9)
