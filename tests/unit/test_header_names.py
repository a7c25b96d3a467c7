"""A record whose header name is not UTF-8 is read like any other: aiokafka alone stops at it for ever."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from stream.client.connection import open_consumer
from stream.fold.fold import fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.header_names import LenientPartitionRecords, RewindableRecords, tolerate_header_names
from stream.reading.query_class import classify_query
from stream.settings import load

SPEC = FoldSpec(partitions=1, horizon=100, max_classes=10, max_arms=10, keep_minutes=1, keep_hours=1, keep_days=1, classifier="seed", max_record_bytes=20_000)
LATIN = b"caf\xe9"


class RawName(str):
    """A header name that is sent as LATIN, as clients of librdkafka send what they are given."""

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return LATIN


def batch(first: int, count: int, *, bad: set[int], codec: int = 0) -> bytes:
    """A batch of traces as a broker keeps it; those whose offsets are in `bad` carry the header."""
    built = _DefaultRecordBatchBuilderPy(magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1_000_000)
    for place in range(count):
        value = b'{"trace_id": "t%d", "query": "hi", "model": "m", "outcome": "success"}' % (first + place)
        headers: list[Any] = [("good", b"1"), (RawName("name"), b"\xe9")] if first + place in bad else [("good", b"1")]
        built.append(place, 1_700_000_000_000, b"t%d" % (first + place), value, headers)
    return first.to_bytes(8, "big") + bytes(built.build())[8:]  # the offset is no part of what the checksum covers


def records(fetched: bytes, *, from_offset: int = 0) -> LenientPartitionRecords:
    return LenientPartitionRecords(TopicPartition("eddy.traces", 0), RewindableRecords(fetched), None, from_offset, None, None, True, 0)


@pytest.mark.parametrize("codec", [0, 1, 4], ids=["none", "gzip", "zstd"])
@pytest.mark.parametrize("bad", [{0}, {4}, {9}, {4, 5, 12}, set(range(20)), set()], ids=str)
def test_all_records_of_a_fetch_are_read_in_order(bad: set[int], codec: int) -> None:
    """Those before it in the fetch, that record, and those behind it: three batches, and each record once."""
    fetched = batch(0, 5, bad=bad, codec=codec) + batch(5, 5, bad=bad, codec=codec) + batch(10, 10, bad=bad, codec=codec)

    read = list(records(fetched))

    assert [(record.offset, record.key) for record in read] == [(offset, b"t%d" % offset) for offset in range(20)]
    assert {record.offset for record in read if len(record.headers) == 2} == bad
    assert {record.headers for record in read if record.offset in bad} <= {(("good", b"1"), ("caf\ufffd", b"\xe9"))}


def test_reading_on_from_the_middle_of_a_batch_yields_no_record_twice() -> None:
    """A fetch begins with the batch that holds the offset asked for; what lies before it was read already."""
    reading = records(batch(0, 10, bad={2, 7}), from_offset=5)

    assert [record.offset for record in reading] == [5, 6, 7, 8, 9]
    assert reading.next_fetch_offset == 10


def test_fold_sees_the_record_and_its_neighbours() -> None:
    """All five count: the header says nothing that the fold needs."""
    state = PartitionState(0, SPEC)

    assert fold(state, list(records(batch(0, 5, bad={2}))), classify_query) == []

    assert (state.position, state.counters.traces) == (5, 5)


def test_a_batch_that_is_broken_otherwise_is_refused_as_before() -> None:
    """Only header names are read leniently: a checksum that does not hold goes on saying so."""
    broken = bytearray(batch(0, 3, bad={1}))
    broken[-1] ^= 1

    with pytest.raises(fetcher.Errors.CorruptRecordException, match="Invalid CRC"):
        list(records(bytes(broken)))


def test_aiokafka_itself_still_stops_at_it() -> None:
    """The day it does not, the override can go."""
    with pytest.raises(UnicodeDecodeError):
        list(MemoryRecords(batch(0, 3, bad={1})).next_batch())


def test_every_fetcher_of_the_process_parses_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetcher looks both classes up in its own module whenever a fetch comes back."""
    for name in ("MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))

    tolerate_header_names()

    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == (RewindableRecords, LenientPartitionRecords)


async def test_clients_of_their_own_parse_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that only routes starts no worker's consumer; one foreign header on `eddy.routing` would stop its router for ever."""
    for name in ("MemoryRecords", "PartitionRecords"):
        monkeypatch.setattr(fetcher, name, object)

    with pytest.raises(KafkaConnectionError):
        await open_consumer(load(bootstrap="127.0.0.1:1"), "eddy.routing", fetch_wait_ms=50)

    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == (RewindableRecords, LenientPartitionRecords)
