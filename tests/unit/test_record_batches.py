"""What a fetch brings is read as aiokafka reads it, record for record, and beyond it where a header name is not UTF-8."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Set
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from stream import record_batches
from stream.client.connection import open_consumer
from stream.fold.fold import fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.reading.query_class import classify_query
from stream.record_batches import BatchwiseRecords, FetchedBatches, InChunks, read_by_batch
from stream.settings import load
from stream.transport.pins import upstream

SPEC = FoldSpec(partitions=1, horizon=100, max_classes=10, max_arms=10, keep_minutes=1, keep_hours=1, keep_days=1, classifier="seed", max_record_bytes=20_000)
LATIN = b"caf\xe9"
PLACE = TopicPartition("eddy.traces", 0)
COMMITTED = 1
BIG = 1_000_000
NONE: Set[int] = frozenset()
STOCK = upstream("aiokafka.consumer.fetcher:PartitionRecords")
"""aiokafka's own class, whatever stands in its place when this module is read."""
ABORT, COMMIT = struct.pack(">hh", 0, 0), struct.pack(">hh", 0, 1)
"""Keys of the records that end a transaction."""


class RawName(str):
    """A header name that is sent as LATIN, as clients of librdkafka send what they are given."""

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return LATIN


def placed(built: bytearray, first: int, *, attributes: int = 0) -> bytes:
    """A batch as the broker keeps it: at its offset, with the attributes that only a broker sets."""
    batch = bytearray(first.to_bytes(8, "big") + bytes(built)[8:])
    if attributes:
        batch[21:23] = (int.from_bytes(batch[21:23], "big") | attributes).to_bytes(2, "big")
        batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")
    return bytes(batch)


def batch(first: int, count: int, *, bad: Set[int] = NONE, codec: int = 0, attributes: int = 0, producer: int = -1, left_out: Set[int] = NONE) -> bytes:
    """A batch of traces as a broker keeps it; those whose offsets are in `bad` carry the header, those in `left_out` were compacted away."""
    builder = _DefaultRecordBatchBuilderPy if bad else DefaultRecordBatchBuilder
    built = builder(magic=2, compression_type=codec, is_transactional=int(producer >= 0), producer_id=producer, producer_epoch=0, base_sequence=0, batch_size=BIG)
    for place in sorted(set(range(count)) - {offset - first for offset in left_out}):
        value = b'{"trace_id": "t%d", "query": "hi", "model": "m", "outcome": "success"}' % (first + place)
        headers: list[Any] = [("good", b"1"), (RawName("name"), b"\xe9")] if first + place in bad else [("good", b"1")]
        built.append(place, 1_700_000_000_000 + place, b"t%d" % (first + place), value, headers)
    return placed(built.build(), first, attributes=attributes)


def marker(offset: int, key: bytes, *, producer: int) -> bytes:
    """What ends a transaction: a batch with one record that is none."""
    built = DefaultRecordBatchBuilder(magic=2, compression_type=0, is_transactional=1, producer_id=producer, producer_epoch=0, base_sequence=0, batch_size=BIG)
    built.append(0, 1_700_000_000_000, key, b"", [])
    return placed(built.build(), offset, attributes=0x20)


def legacy(magic: int, first: int, count: int, *, codec: int = 0) -> bytes:
    """A message set of the formats before Kafka 0.11."""
    built = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=BIG)
    for offset in range(first, first + count):
        built.append(offset, 1_700_000_000_000 + offset, b"t%d" % offset, b"value" if offset % 2 else None)
    return bytes(built.build())


def records(fetched: bytes, *, from_offset: int = 0, wanted: Any = None, isolation: int = 0, aborted: Any = None, checked: bool = True) -> BatchwiseRecords:
    return BatchwiseRecords(PLACE, FetchedBatches(fetched), aborted, from_offset, None, wanted, checked, isolation)


def stock(fetched: bytes, *, from_offset: int = 0, isolation: int = 0, aborted: Any = None) -> Any:
    return STOCK(PLACE, MemoryRecords(fetched), aborted, from_offset, None, None, True, isolation)


def said(record: Any) -> tuple[Any, ...]:
    return record.offset, record.timestamp, record.timestamp_type, record.key, record.value, tuple(record.headers)


def positions(reading: Iterator[Any]) -> list[tuple[int, int]]:
    """Where the consumer would go on after each record, and at the end."""
    return [(record.offset, reading.next_fetch_offset) for record in reading] + [(-1, reading.next_fetch_offset)]  # type: ignore[attr-defined]


FETCHES: dict[str, dict[str, Any]] = {
    "one batch": {"fetched": batch(0, 10)},
    "nothing": {"fetched": b""},
    "several batches": {"fetched": b"".join(batch(10 * number, 10) for number in range(5))},
    "batches of one record": {"fetched": b"".join(batch(number, 1) for number in range(25))},
    "the last batch cut off": {"fetched": batch(0, 5) + batch(5, 5)[:-3]},
    "gzip, snappy, lz4, zstd": {"fetched": b"".join(batch(7 * number, 7, codec=number + 1) for number in range(4))},
    "from the middle of a batch": {"fetched": batch(0, 10) + batch(10, 10), "from_offset": 7},
    "from the middle of a compressed batch": {"fetched": batch(0, 10, codec=4) + batch(10, 10), "from_offset": 9},
    "from behind a whole batch": {"fetched": batch(0, 10) + batch(10, 10), "from_offset": 10},
    "offsets compacted away, the last ones too": {"fetched": batch(0, 10, left_out={0, 3, 4}) + batch(10, 10)},
    "stamped by the broker": {"fetched": batch(0, 10, attributes=0x08)},
    "a transaction that was committed": {"fetched": batch(0, 5, producer=7) + marker(5, COMMIT, producer=7) + batch(6, 2)},
    "a mark at the end": {"fetched": batch(0, 5, producer=7) + marker(5, COMMIT, producer=7)},
    "marks only": {"fetched": marker(5, COMMIT, producer=7) + marker(6, ABORT, producer=8), "from_offset": 5},
    "an aborted transaction, read all the same": {"fetched": batch(0, 5, producer=7) + marker(5, ABORT, producer=7) + batch(6, 2)},
    "an aborted transaction": {
        "fetched": batch(0, 5, producer=7) + batch(5, 5, producer=8) + batch(10, 5) + marker(15, ABORT, producer=7) + batch(16, 5, producer=7) + marker(21, COMMIT, producer=7),
        "isolation": COMMITTED,
        "aborted": [(7, 0)],
    },
    "two aborted transactions of one producer": {
        "fetched": batch(0, 5, producer=7) + marker(5, ABORT, producer=7) + batch(6, 5, producer=7) + batch(11, 1, producer=9) + marker(12, ABORT, producer=7),
        "isolation": COMMITTED,
        "aborted": [(7, 6), (7, 0)],
    },
    "the format of 0.8": {"fetched": legacy(0, 0, 10)},
    "the format of 0.10": {"fetched": legacy(1, 0, 10)},
    "the format of 0.10, compressed": {"fetched": legacy(1, 0, 10, codec=1), "from_offset": 4},
}


@pytest.mark.parametrize("given", FETCHES.values(), ids=FETCHES)
def test_records_are_those_that_aiokafka_reads(given: dict[str, Any]) -> None:
    """Field for field, whether a consumer asks for records or for chunks, of whatever size."""
    expected = [said(record) for record in stock(**given)]

    assert [said(record) for record in records(**given)] == expected
    for most in (1, 3, 10, 1_000):
        chunks = list(records(**given, wanted=InChunks(most=most)))
        assert [said(record) for chunk in chunks for record in chunk] == expected
        assert {len(chunk) for chunk in chunks[:-1]} <= {most}
        assert all(0 < len(chunk) <= most for chunk in chunks)


@pytest.mark.parametrize("given", FETCHES.values(), ids=FETCHES)
def test_position_moves_as_aiokafka_moves_it(given: dict[str, Any]) -> None:
    """After every record and behind the last batch; with chunks, at their ends: a rebalance between two of them neither loses nor repeats a record."""
    expected = positions(stock(**given))

    assert positions(records(**given)) == expected
    for most in (1, 3, 10, 1_000):
        reading = records(**given, wanted=InChunks(most=most))
        assert [(chunk[-1].offset, reading.next_fetch_offset) for chunk in reading] == [(offset, after) for offset, after in expected[:-1] if after in _ends(given, most)]
        assert reading.next_fetch_offset == expected[-1][1]


def _ends(given: dict[str, Any], most: int) -> set[int]:
    """Positions after the last record of each chunk: every `most`-th, and the last."""
    read = [record.offset + 1 for record in stock(**given)]
    return {*read[most - 1 :: most], *read[-1:]}


@pytest.mark.parametrize("extend", [record_batches.extend_crc32c, None], ids=["fast", "aiokafka's"])
@pytest.mark.parametrize("bad_byte", [30, 70, -1])
@pytest.mark.parametrize("wanted", [None, InChunks()], ids=["records", "chunks"])
def test_batch_with_another_checksum_is_refused(wanted: InChunks | None, bad_byte: int, extend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flipped bit anywhere behind the checksum is noticed, and nothing of the fetch is lost: the position does not move."""
    monkeypatch.setattr(record_batches, "extend_crc32c", extend)
    broken = bytearray(batch(10, 3, codec=4))
    broken[bad_byte] ^= 1
    reading = records(batch(0, 10) + bytes(broken), wanted=wanted)

    with pytest.raises(fetcher.Errors.CorruptRecordException, match="Invalid CRC"):
        list(reading)

    assert reading.next_fetch_offset == (10 if wanted is None else 0)


def test_checksum_is_not_looked_at_where_the_consumer_does_not_want_it() -> None:
    """`check_crcs=False` is aiokafka's own setting."""
    broken = bytearray(batch(0, 3))
    broken[18] ^= 1

    assert len(list(records(bytes(broken), checked=False))) == 3


def test_fast_checksum_is_the_one_of_kafka() -> None:
    """The check value of CRC-32C, from RFC 3720 by way of every implementation's own test."""
    assert record_batches.extend_crc32c is not None
    assert record_batches.extend_crc32c(0, b"123456789") == calc_crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("codec", [0, 1, 4], ids=["none", "gzip", "zstd"])
@pytest.mark.parametrize("bad", [{0}, {4}, {9}, {4, 5, 12}, set(range(20)), set()], ids=str)
def test_header_names_that_are_not_utf8_are_replaced(bad: set[int], codec: int) -> None:
    """Those before it in the fetch, that record, and those behind it: three batches, and each record once."""
    fetched = batch(0, 5, bad=bad, codec=codec) + batch(5, 5, bad=bad, codec=codec) + batch(10, 10, bad=bad, codec=codec)

    read = list(records(fetched))

    assert [(record.offset, record.key) for record in read] == [(offset, b"t%d" % offset) for offset in range(20)]
    assert {record.offset for record in read if len(record.headers) == 2} == bad
    assert {record.headers for record in read if record.offset in bad} <= {(("good", b"1"), ("caf\ufffd", b"\xe9"))}
    assert [said(record) for chunk in records(fetched, wanted=InChunks(most=7)) for record in chunk] == [said(record) for record in read]


def test_reading_on_from_the_middle_of_a_lenient_batch_yields_no_record_twice() -> None:
    """A fetch begins with the batch that holds the offset asked for; what lies before it was read already."""
    reading = records(batch(0, 10, bad={2, 7}), from_offset=5)

    assert [record.offset for record in reading] == [5, 6, 7, 8, 9]
    assert reading.next_fetch_offset == 10


@pytest.mark.parametrize("wanted", [None, InChunks(PLACE.topic)], ids=["records", "chunks"])
def test_fold_sees_the_record_and_its_neighbours(wanted: InChunks | None) -> None:
    """All five count: the header says nothing that the fold needs."""
    state = PartitionState(0, SPEC)
    read = list(records(batch(0, 5, bad={2}), wanted=wanted))

    assert fold(state, read[0] if wanted else read, classify_query) == []

    assert (state.position, state.counters.traces) == (5, 5)


def test_aiokafka_itself_still_stops_at_such_a_name() -> None:
    """The day it does not, that override can go."""
    with pytest.raises(UnicodeDecodeError):
        list(MemoryRecords(batch(0, 3, bad={1})).next_batch())


def test_other_topics_of_the_same_consumer_come_record_by_record() -> None:
    """The worker reads changelogs with the consumer that reads its sources."""
    read = list(records(batch(0, 3), wanted=InChunks("another")))

    assert [(record.topic, record.offset, record.value[:12]) for record in read] == [(PLACE.topic, offset, b'{"trace_id":') for offset in range(3)]


def test_every_fetcher_of_the_process_parses_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetcher looks both classes up in its own module whenever a fetch comes back."""
    for name in ("MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))

    read_by_batch()

    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == (FetchedBatches, BatchwiseRecords)


async def test_clients_of_their_own_parse_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that only routes starts no worker's consumer; one foreign header on `eddy.routing` would stop its router for ever."""
    for name in ("MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, object)

    with pytest.raises(KafkaConnectionError):
        await open_consumer(load(bootstrap="127.0.0.1:1"), "eddy.routing", fetch_wait_ms=50)

    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == (FetchedBatches, BatchwiseRecords)


@pytest.mark.parametrize("most_at_once", [None, 1, 2])
def test_consumer_gets_lists_and_goes_on_behind_them(most_at_once: int | None) -> None:
    """As `getmany` collects them: its `max_records` counts lists, and the position is always behind the last one handed out."""
    reading = records(batch(0, 25) + marker(25, COMMIT, producer=7), wanted=InChunks(most=10))
    state = SimpleNamespace(paused=False, position=0)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    result = fetcher.FetchResult(PLACE, assignment=assignment, partition_records=reading, backoff=0)

    seen = []
    while result.has_more():
        chunks = result.getall(most_at_once)
        seen += [record.offset for chunk in chunks for record in chunk]
        assert state.position == (26 if not result.has_more() else seen[-1] + 1)

    assert seen == list(range(25))


def test_what_lies_behind_a_hole_waits_for_what_may_be_in_it() -> None:
    """The embedded broker may show a batch before the one in front of it: a reader that went on would have lost that one for good."""
    wanted = InChunks()
    reading = records(batch(0, 3) + batch(5, 3), wanted=wanted)
    assert [record.offset for chunk in reading for record in chunk] == [0, 1, 2]
    assert reading.next_fetch_offset == 3

    again = records(batch(5, 3), from_offset=3, wanted=wanted)
    assert (list(again), again.next_fetch_offset) == ([], 3)
    whole = records(batch(3, 2) + batch(5, 3), from_offset=3, wanted=wanted)
    assert [record.offset for chunk in whole for record in chunk] == [3, 4, 5, 6, 7]


def test_a_hole_that_stays_is_read_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log may have lost something: a second later it is not waited for any more, though another hole further on is."""
    now = SimpleNamespace(monotonic=lambda: 7.0)
    monkeypatch.setattr(record_batches, "time", now)
    wanted, fetched = InChunks(), batch(5, 3) + batch(10, 1)
    assert list(records(fetched, from_offset=3, wanted=wanted)) == []
    now.monotonic = lambda: 7.0 + record_batches.HOLE_S

    reading = records(fetched, from_offset=3, wanted=wanted)
    assert [record.offset for chunk in reading for record in chunk] == [5, 6, 7]
    assert reading.next_fetch_offset == 8


def test_wrong_checksum_is_raised_again_and_not_stepped_over() -> None:
    """The rest of such a fetch is thrown away by aiokafka, which asks anew; a batch must not be lost on the way."""
    broken = bytearray(batch(10, 3))
    broken[-1] ^= 1
    state = SimpleNamespace(paused=False, position=0)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    result = fetcher.FetchResult(
        PLACE,
        assignment=SimpleNamespace(active=True, state_value=lambda _: state),
        partition_records=records(batch(0, 10) + bytes(broken) + batch(13, 3), wanted=InChunks()),
        backoff=0,
    )

    with pytest.raises(fetcher.Errors.CorruptRecordException):
        result.getall()

    assert result.getall() == []
    assert (state.position, result.has_more()) == (0, False)
