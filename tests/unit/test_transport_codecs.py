"""Records compressed by any codec of Kafka's can be read: one that cannot be would stop its partition for every reader."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_batch_of_any_codec_is_read(codec: int) -> None:
    """What a producer compresses with is its own choice; aiokafka alone brings gzip only."""
    batch = DefaultRecordBatchBuilder(magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=100_000)
    for offset in range(3):
        batch.append(offset, 1_700_000_000_000, b"key", b"value " * 100, [])

    records = MemoryRecords(bytes(batch.build()))

    assert [(record.offset, record.key, record.value) for record in records.next_batch()] == [(offset, b"key", b"value " * 100) for offset in range(3)]
