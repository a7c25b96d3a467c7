"""The floor of cost: aiokafka hands out chunks, orjson decodes every record, nothing is kept."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.contestants.clock import TOPIC, Clock, options, read


async def main() -> None:
    """Read until ended."""
    given = options()
    clock = Clock(given.records)
    consumer = AIOKafkaConsumer(bootstrap_servers=given.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(TOPIC, number) for number in sorted(consumer.partitions_for_topic(TOPIC) or await partitions(consumer))])
    while True:
        for records in (await consumer.getmany(timeout_ms=1_000)).values():
            for record in records:
                read(record.value)
            clock.many(len(records))


async def partitions(consumer: AIOKafkaConsumer) -> set[int]:
    """The topic's partitions, which a consumer without a subscription has not asked for."""
    cluster = await consumer._client.fetch_all_metadata()
    return set(cluster.partitions_for_topic(TOPIC))


if __name__ == "__main__":
    asyncio.run(main())
