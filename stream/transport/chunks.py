"""One Faust event per fetched list of records, for the source topics; changelogs keep the stock path.

Overrides `Consumer.getmany`: a Faust event costs some 210 us, reading a record 10 us, so the event becomes a list, as the fetched
batches hold them (`stream.record_batches`), which `AIOKafkaConsumerThread._create_worker_consumer` has the consumer asked for. The stock
method also seeks to the committed offsets when the flow is stopped; here the recovered state alone decides that (`seeking`). And
it tells Faust's monitor the end of every partition fetched, which fails for one that has just been taken away; nobody reads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage
from faust.types.tuples import TP

from stream.record_batches import InChunks


class ChunkSchema(faust.Schema):
    """Hands a chunk on as it is: the fold reads records itself, and a record it cannot read is a dead letter, not an exception."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Awaitable[Any]]:
        """Return a decoder that does not decode."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(message.key, message.value, message.headers, message)

        return decode


class ChunkedFetch(driver.Consumer):
    """A consumer whose messages from source topics hold a list of fetched records as their value."""

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch, and yield one message per chunk of a source partition, one per record of a changelog."""
        fetched, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        for partition, records in (fetched or {}).items():
            tp = TP(partition.topic, partition.partition)
            if not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            for message in self._messages(tp, records, generation):
                if self.should_stop or not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield tp, message

    def _messages(self, tp: TP, fetched: Sequence[Any], generation: int) -> Iterator[Any]:
        if tp.topic in self.transport.sources:
            return (_chunk(tp, records, generation) for records in fetched)
        return (self._to_message(tp, record) for record in fetched)


class ChunkingThread(driver.AIOKafkaConsumerThread):
    """A consumer thread whose consumer hands out the records of source topics in lists."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._value_deserializer = InChunks(*transport.sources)
        return consumer


def _chunk(tp: TP, records: Sequence[Any], generation: int) -> Any:
    last = records[-1]
    return ConsumerMessage(tp.topic, tp.partition, last.offset, (last.timestamp or 0) / 1000.0, last.timestamp_type, None, None, records, None, 0, 0, tp, generation_id=generation)
