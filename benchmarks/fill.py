"""Publishes a workload: to the end at once, or so many records a second.

    python -m benchmarks.fill --bootstrap HOST:PORT --scenario 8x6 --traces 100000

It says on its output how many are out.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice

from aiokafka import AIOKafkaProducer

from benchmarks.broker import Ground
from benchmarks.processes import Script, say
from benchmarks.workload import SCENARIOS, write
from stream.reading.many_keys import partitions_of
from stream.topics import TRACES

BATCH_BYTES = 256 * 1024
"""As Eddy's own clients send."""
RECORDS = 4_000
"""Written between two waits for the broker."""
SLICE_S = 0.02
"""Of a second's records, how many are published together where a rate is given."""
SAY_EVERY_S = 0.5

Item = tuple[bytes, bytes]


async def publish(options: argparse.Namespace) -> None:
    """Publish all of it."""
    log = write(SCENARIOS[options.scenario], options.traces, now_s=time.time())
    producer = AIOKafkaProducer(bootstrap_servers=options.bootstrap, acks="all", linger_ms=0, max_batch_size=BATCH_BYTES, max_request_size=4 * BATCH_BYTES)
    await producer.start()
    try:
        await _publish(producer, log, options)
    finally:
        await producer.stop()


async def _publish(producer: AIOKafkaProducer, log: Iterator[Item], options: argparse.Namespace) -> None:
    step = max(1, int(options.per_second * SLICE_S)) if options.per_second else RECORDS
    began_s, said_s, done = time.monotonic(), 0.0, 0
    open_futures: list[asyncio.Future[object]] = []
    while batch := list(islice(log, step)):
        sent = await _send(producer, batch, options.partitions)
        done += len(batch)
        if options.per_second:
            await asyncio.sleep(max(0.0, began_s + done / options.per_second - time.monotonic()))
        else:
            await asyncio.gather(*open_futures)
        open_futures = sent
        if time.monotonic() - said_s > SAY_EVERY_S:
            said_s = time.monotonic()
            _tell(done)
    await asyncio.gather(*open_futures)
    _tell(done)


async def _send(producer: AIOKafkaProducer, items: list[Item], partitions: int) -> list[asyncio.Future[object]]:
    """Hand over records in as few batches as hold them."""
    by_partition: defaultdict[int, list[Item]] = defaultdict(list)
    for item, number in zip(items, partitions_of([key for key, _ in items], partitions), strict=True):
        by_partition[number].append(item)
    return [await producer.send_batch(batch, TRACES.name, partition=number) for number, part in by_partition.items() for batch in _batches(producer, part)]


def _batches(producer: AIOKafkaProducer, items: list[Item]) -> Iterator[object]:
    builder = producer.create_batch()
    for key, value in items:
        if builder.append(key=key, value=value, timestamp=None) is None:
            builder.close()
            yield builder
            builder = producer.create_batch()
            builder.append(key=key, value=value, timestamp=None)
    builder.close()
    yield builder


def _tell(done: int) -> None:
    print(f'{{"records": {done}, "at": {time.time()}}}', flush=True)


def filler(place: Ground, scenario: str, traces: int, *, per_second: float = 0.0) -> Script:
    """A process that publishes a workload."""
    options = {"bootstrap": place.settings.bootstrap, "scenario": scenario, "traces": traces, "per-second": per_second, "partitions": place.settings.partitions}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return Script("publisher", [sys.executable, "-m", "benchmarks.fill", *arguments], folder=place.folder)


async def fill(place: Ground, scenario: str, traces: int) -> int:
    """Publish a workload from a process of its own; returns the number of records."""
    process = filler(place, scenario, traces)
    process.start()
    began_s, records, said_s = time.monotonic(), 0, 0.0
    async for sample in process.samples():
        records = sample.records
        if time.monotonic() - said_s > 5:
            said_s = time.monotonic()
            say(f"{scenario}: {records:,} records published")
    if process.end():
        raise RuntimeError(f"the publisher ended with an error after {records} records; see {process.log_path}")
    say(f"{scenario}: {records:,} records published in {time.monotonic() - began_s:.1f} s")
    return records


def main() -> None:
    """Read the options and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument("--traces", type=int, required=True)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--per-second", type=float, default=0.0)
    asyncio.run(publish(parser.parse_args()))


if __name__ == "__main__":
    main()
