"""Publishes a fault run's log from a process of its own, as far as it is told: a number on a line of its input is how many records shall be out.

Answers every such line with the number that the broker has acknowledged; ends when all are out.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from itertools import islice

from aiokafka import AIOKafkaProducer

from stream.settings import Settings
from stream.topics import TRACES
from tests.faults.log import Sent, write_log

BATCH = 500


async def publish(options: argparse.Namespace) -> None:
    """Follow the input until the log is out."""
    log = write_log(options.traces, seed=options.seed, partitions=options.partitions, now_s=options.now)
    producers = [_producer(options, number) for number in range(2)]
    for producer in producers:
        await producer.start()
    done, ended = 0, False
    try:
        while not ended:
            line = await asyncio.to_thread(sys.stdin.readline)
            if not line:
                return
            while done < int(line) and not ended:
                batch = list(islice(log, min(BATCH, int(line) - done)))
                await _send(producers, batch)
                done += len(batch)
                ended = not batch
            print(done, "ended" if ended else "", flush=True)
    finally:
        for producer in producers:
            await producer.stop()


async def send_one(settings: Settings, topic: str, key: bytes, value: bytes) -> None:
    """Send one record and wait until the broker has it."""
    producer = AIOKafkaProducer(**settings.client_options, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, key=key)
    finally:
        await producer.stop()


def _producer(options: argparse.Namespace, number: int) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=options.bootstrap,
        client_id=f"faults-{number}",
        acks="all",
        linger_ms=5,
        max_batch_size=262_144,
        max_request_size=4_000_000,
        enable_idempotence=options.idempotent,
    )


async def _send(producers: list[AIOKafkaProducer], batch: list[Sent]) -> None:
    acknowledged = [
        await producers[sent.producer].send(TRACES.name, sent.value, key=sent.key, partition=sent.partition, timestamp_ms=sent.timestamp_ms) for sent in batch
    ]
    await asyncio.gather(*acknowledged)


def main() -> None:
    """Read the options and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--traces", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--now", type=float, required=True)
    parser.add_argument("--idempotent", action="store_true")
    asyncio.run(publish(parser.parse_args()))


if __name__ == "__main__":
    main()
