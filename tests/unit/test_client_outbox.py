"""The buffer in front of the broker: bounded, in order, never in the caller's way. The broker is a fake named by its behaviour."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.client.connection import Item, Wire
from stream.client.outbox import RECORD_OVERHEAD_BYTES, Outbox
from stream.client.quiet import OncePerMinute, Throttle
from stream.errors import BrokerUnavailableError, RecordRefusedError
from stream.reading.partitioning import partition_of


class Log:
    """What a broker holds."""

    def __init__(self) -> None:
        self.partitions: dict[int, list[Item]] = defaultdict(list)

    @property
    def items(self) -> list[Item]:
        return [item for items in self.partitions.values() for item in items]


class WillingBroker:
    """Takes everything, but for the attempts that its script says fail."""

    partitions = 4
    idempotent = False

    def __init__(self, log: Log, failures: list[bool] | None = None) -> None:
        self.log = log
        self.failures = failures or []

    async def send(self, partition: int, items: list[Item]) -> None:
        await asyncio.sleep(0)
        if self.failures and self.failures.pop():
            raise ConnectionError("gone")
        self.log.partitions[partition] += items

    async def close(self) -> None: ...


class ChoosyBroker(WillingBroker):
    """Refuses every batch that holds a record with a certain value."""

    async def send(self, partition: int, items: list[Item]) -> None:
        if any(value == b"poison" for _, value in items):
            raise RecordRefusedError("poison")
        await super().send(partition, items)


class StuckBroker(WillingBroker):
    """Never answers."""

    async def send(self, partition: int, items: list[Item]) -> None:
        await asyncio.Event().wait()


def connecting_to(wire: Wire) -> Callable[[], Awaitable[Wire]]:
    async def connect() -> Wire:
        return wire

    return connect


async def absent_broker() -> Wire:
    raise BrokerUnavailableError("no broker answers")


async def delivered(outbox: Outbox) -> None:
    await outbox.start()
    assert await outbox.flush(20)
    await outbox.close()


async def test_records_arrive_once_in_their_order_by_key() -> None:
    """Three records of each of 50 keys, published before and after the start."""
    log, items = Log(), [(f"k{number % 50}".encode(), str(number).encode()) for number in range(150)]
    outbox = Outbox(connecting_to(WillingBroker(log)))
    for item in items[:70]:
        outbox.put(*item)
    await outbox.start()
    for item in items[70:]:
        outbox.put(*item)
    await delivered(outbox)

    assert sorted(log.items) == sorted(items)
    for key, _ in items[:50]:
        assert [value for own, value in log.partitions[partition_of(key, 4)] if own == key] == [value for own, value in items if own == key]
    assert (outbox.stats.accepted, outbox.stats.delivered, outbox.stats.waiting, outbox.stats.waiting_bytes) == (150, 150, 0, 0)


@settings(max_examples=50)
@given(st.lists(st.booleans(), max_size=12), st.integers(1, 40))
def test_order_within_a_partition_survives_any_failures(failures: list[bool], count: int) -> None:
    """Each attempt fails or not; a partition's records still stand in the order in which they were put, none lost."""
    log, items = Log(), [(str(number % 7).encode(), str(number).encode()) for number in range(count)]

    async def publish() -> None:
        outbox = Outbox(connecting_to(WillingBroker(log, failures)), linger_s=0)
        outbox._backoff_s = 0.0
        for item in items:
            outbox.put(*item)
        await delivered(outbox)

    asyncio.run(publish())

    for partition, stored in log.partitions.items():
        assert stored == [item for item in items if partition_of(item[0], 4) == partition]


async def test_refused_record_is_dropped_alone_and_counted() -> None:
    """Whatever shares its batch is delivered, in order."""
    log = Log()
    outbox = Outbox(connecting_to(ChoosyBroker(log)))
    for value in (b"1", b"poison", b"2", b"poison", b"3"):
        outbox.put(b"key", value)

    await delivered(outbox)

    assert [value for _, value in log.items] == [b"1", b"2", b"3"]
    assert (outbox.stats.delivered, outbox.stats.dropped, outbox.stats.waiting_bytes) == (3, {"refused": 2}, 0)


async def test_buffer_is_bounded_by_count_and_by_bytes_while_the_broker_is_stuck() -> None:
    """What is on the way counts: 10 records, or 1,000 bytes of records that weigh 100 + their overhead."""
    by_count = Outbox(connecting_to(StuckBroker(Log())), max_records=10)
    by_bytes = Outbox(connecting_to(StuckBroker(Log())), max_bytes=3 * (100 + RECORD_OVERHEAD_BYTES))
    for outbox in (by_count, by_bytes):
        await outbox.start()
        for _ in range(20):
            outbox.put(b"k" * 50, b"v" * 50)
            await asyncio.sleep(0)

    assert (by_count.stats.waiting, by_count.stats.dropped) == (10, {"buffer_full": 10})
    assert (by_bytes.stats.waiting, by_bytes.stats.dropped) == (3, {"buffer_full": 17})
    for outbox in (by_count, by_bytes):
        assert not await outbox.close(timeout_s=0.01)
        assert outbox.stats.dropped["closed"] == outbox.stats.accepted
        assert outbox.stats.waiting_bytes == 0


async def test_absent_broker_is_waited_for_and_mentioned_once(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is one line in the service's log, not one a retry."""
    outbox = Outbox(absent_broker)
    outbox._backoff_s = 0.001
    outbox.put(b"k", b"v")
    await outbox.start()
    with caplog.at_level(logging.WARNING):
        await asyncio.sleep(0.1)

    assert not await outbox.close(timeout_s=0.01)
    assert [record.name for record in caplog.records if "records wait" in record.message] == ["stream.client.outbox"]


async def test_put_is_safe_from_many_threads() -> None:
    """Four threads put 500 records each while the loop delivers."""
    log = Log()
    outbox = Outbox(connecting_to(WillingBroker(log)))
    await outbox.start()

    def put(number: int) -> None:
        for count in range(500):
            outbox.put(str(number).encode(), str(count).encode())

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    await delivered(outbox)

    assert len(log.items) == 2_000
    for number in range(4):
        assert [int(value) for key, value in log.items if key == str(number).encode()] == list(range(500))


async def test_room_is_waited_for_by_bulk_senders() -> None:
    """A file of any length goes through a small buffer without a drop."""
    log = Log()
    outbox = Outbox(connecting_to(WillingBroker(log)), max_records=20, linger_s=0)
    await outbox.start()
    for number in range(200):
        await outbox.room()
        outbox.put(b"k", str(number).encode())
    await delivered(outbox)

    assert [value for _, value in log.items] == [str(number).encode() for number in range(200)]


def test_throttle_lets_one_line_a_minute_through_and_says_how_many_it_held(caplog: pytest.LogCaptureFixture) -> None:
    """At seconds 0, 1, 59 and 60: two lines, the second saying that two were held back."""
    now = [0.0]
    throttle = Throttle(logging.getLogger("eddy.test"), clock=lambda: now[0])
    for now[0] in (0.0, 1.0, 59.0, 60.0):
        throttle.warning("outage", "away since %d", 1)

    assert [record.message for record in caplog.records] == ["away since 1", "away since 1 (and 2 more like it since the last line)"]


def test_what_aiokafka_logs_for_others_is_never_thinned() -> None:
    """The filter hangs on a library's loggers that the service may use for itself."""
    record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, "Unable to update metadata", (), None)

    assert [OncePerMinute().filter(record) for _ in range(3)] == [True, True, True]


async def test_a_record_after_silence_goes_at_once_and_the_next_ones_together() -> None:
    """At 50 requests a second nobody waits for company; in a burst the second round takes all that came since the first began."""
    log = Log()
    outbox = Outbox(connecting_to(WillingBroker(log)), linger_s=60.0)
    await outbox.start()
    outbox.put(b"a", b"1")
    outbox.put(b"b", b"1")
    await asyncio.sleep(0.01)
    assert sorted(key for key, _ in log.items) == [b"a", b"b"]

    outbox.put(b"c", b"1")
    await asyncio.sleep(0.01)
    assert len(log.items) == 2
    await outbox.close(timeout_s=0.0)
