"""The bounded buffer between a caller and the broker, and the task that empties it in order.

It takes bytes: what a record is, and what of it may leave the process, is `stream.client.payload`'s work.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from stream.client.connection import BATCH_BYTES, Item, Wire
from stream.client.quiet import Throttle, quiet_this_task
from stream.errors import RecordRefusedError
from stream.reading.partitioning import partition_of

log = logging.getLogger(__name__)

MAX_RECORDS = 10_000
"""Records that wait at most: at 100 requests a second over a minute and a half of outage."""
MAX_BYTES = 33_554_432
"""Bytes that wait at most: what a service can spare, and 20,000 traces of 1.5 kB."""
RECORD_OVERHEAD_BYTES = 200
"""What a waiting record costs beside its key and value: a tuple, two objects' headers, a slot of the queue."""
ROUND_RECORDS = 2_000
"""Records of one round; more makes the event loop's other tasks wait."""
LINGER_S = 0.005
"""Least time between the beginnings of two rounds, so that records that come together travel together; one that comes after silence goes at once."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0
LOOK_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStats:
    """What became of the records.

    Attributes:
        accepted: taken from callers.
        delivered: acknowledged by all in-sync replicas.
        dropped: given up, by reason: `buffer_full`, `closed`, `too_large`, `malformed`, `refused`.
        waiting: in the buffer or on the way.
        waiting_bytes: their size.
        connected: whether there is a connection; it may not have noticed yet that the broker is away.
        idempotent: whether the broker lets a retry write nothing twice.
    """

    accepted: int
    delivered: int
    dropped: dict[str, int]
    waiting: int
    waiting_bytes: int
    connected: bool
    idempotent: bool


class Outbox:
    """A bounded queue of records for one topic. `put` may be called from any thread; all else from one event loop.

    Args:
        connect: opens a connection to the broker; called again after each failure.
        max_records: records that wait at most, those on the way included.
        max_bytes: their size at most.
        linger_s: least time between the beginnings of two rounds.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Wire]],
        *,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        linger_s: float = LINGER_S,
    ) -> None:
        self._connect = connect
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._linger_s = linger_s
        self._began_s = float("-inf")
        self._queue: deque[Item] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._dropped: Counter[str] = Counter()
        self._accepted = self._delivered = self._gone = 0
        self._one_by_one = 0
        self._closed = False
        self._awake = False
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wire: Wire | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._throttle = Throttle(log)

    # ---- the caller's side

    def put(self, key: bytes, value: bytes) -> bool:
        """Take a record, or drop and count it when there is no room; never waits, never raises."""
        size = len(key) + len(value) + RECORD_OVERHEAD_BYTES
        with self._lock:
            reason = self._objection(size)
            if not reason:
                self._queue.append((key, value))
                self._bytes += size
                self._accepted += 1
        if reason:
            self.drop(reason)
        elif not self._awake:
            self._wake_up()
        return not reason

    def drop(self, reason: str, detail: str = "") -> None:
        """Count a record as given up, and say so at most once a minute."""
        with self._lock:
            self._dropped[reason] += 1
        self._throttle.warning(reason, "a record was dropped: %s %s", reason, detail)

    @property
    def stats(self) -> OutboxStats:
        """What became of the records so far."""
        with self._lock:
            return OutboxStats(
                accepted=self._accepted,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                waiting=len(self._queue),
                waiting_bytes=self._bytes,
                connected=self._wire is not None,
                idempotent=self._wire is not None and self._wire.idempotent,
            )

    # ---- its life on the event loop

    async def start(self) -> None:
        """Begin to deliver; a broker that is away is waited for in the background."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(self._run(), name="eddy outbox")

    async def room(self) -> None:
        """Wait until at least half of the buffer is free: for bulk senders that would rather wait than drop."""
        while len(self._queue) * 2 > self._max_records or self._bytes * 2 > self._max_bytes:
            await asyncio.sleep(LOOK_S)

    async def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was accepted before the call is delivered or given up.

        Returns:
            False when the time was not enough.
        """
        target, deadline_s = self._accepted, asyncio.get_running_loop().time() + timeout_s
        while self._gone < target and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(LOOK_S)
        return self._gone >= target

    async def close(self, timeout_s: float = 10.0) -> bool:
        """Deliver what waits, as far as the time allows, and end; the rest is dropped and counted.

        Returns:
            Whether everything was delivered or given up in time.
        """
        self._closed = True
        flushed = self._task is None or await self.flush(timeout_s)
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        while self._queue:
            self._forget([self._queue.popleft()])
            self.drop("closed")
        return flushed

    # ---- the task

    async def _run(self) -> None:
        quiet_this_task()
        while True:
            try:
                await self._serve()
            except Exception as exc:
                self._throttle.warning("outage", "records wait, %d so far: %r", len(self._queue), exc)
            await asyncio.sleep(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, LAST_BACKOFF_S)

    async def _serve(self) -> None:
        self._wire = wire = await self._connect()
        try:
            while True:
                await self._wait()
                await self._round(wire)
                self._backoff_s = FIRST_BACKOFF_S
        finally:
            self._wire = None
            await wire.close()

    async def _wait(self) -> None:
        self._wake.clear()
        self._awake = False  # before the look at the queue: whoever puts after it wakes this task
        if not self._queue:
            await self._wake.wait()
        self._awake = True
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(self._began_s + self._linger_s - loop.time(), 0.0))  # a turn of the loop at least: what comes in it travels along
        self._began_s = loop.time()

    async def _round(self, wire: Wire) -> None:
        """Deliver the head of the queue.

        1. Take a prefix of which every partition's share fits one batch.
        2. Send these batches at once and wait for all: one batch a partition keeps its order over retries.
        3. Take what was delivered from the queue; the rest keeps its place.
        4. What the broker refuses is sent again record by record, and the culprits are dropped.
        5. Any other failure ends the connection; the next one goes on here.
        """
        head = self._head(wire.partitions)  # 1
        batches: dict[int, list[Item]] = defaultdict(list)
        for partition, item in head:
            batches[partition].append(item)
        results = await asyncio.gather(*map(wire.send, batches, batches.values()), return_exceptions=True)  # 2
        failed = {partition: error for partition, error in zip(batches, results, strict=True) if error is not None}
        self._settle(head, failed)  # 3, 4
        for error in failed.values():
            if not isinstance(error, RecordRefusedError):
                raise error  # 5

    def _head(self, partitions: int) -> list[tuple[int, Item]]:
        with self._lock:
            items = list(islice(self._queue, 1 if self._one_by_one else ROUND_RECORDS))
        head: list[tuple[int, Item]] = []
        sizes: Counter[int] = Counter()
        for item in items:
            partition = partition_of(item[0], partitions)
            size = len(item[0]) + len(item[1]) + RECORD_OVERHEAD_BYTES
            if sizes[partition] and sizes[partition] + size > BATCH_BYTES:
                break
            sizes[partition] += size
            head.append((partition, item))
        return head

    def _settle(self, head: list[tuple[int, Item]], failed: dict[int, BaseException]) -> None:
        self._one_by_one = max(self._one_by_one - 1, 0)
        delivered = [item for partition, item in head if partition not in failed]
        kept = [item for partition, item in head if partition in failed]
        if refusal := next((error for error in failed.values() if isinstance(error, RecordRefusedError)), None):
            kept = self._find_culprit(kept, refusal)
        with self._lock:
            for _ in head:
                self._queue.popleft()
            self._queue.extendleft(reversed(kept))
            self._delivered += len(delivered)
        self._forget(delivered)

    def _find_culprit(self, refused: list[Item], refusal: RecordRefusedError) -> list[Item]:
        if len(refused) > 1:
            self._one_by_one = len(refused)
            return refused
        self._forget(refused)
        self.drop("refused", str(refusal))
        return []

    def _forget(self, items: list[Item]) -> None:
        with self._lock:
            self._bytes -= sum(len(key) + len(value) + RECORD_OVERHEAD_BYTES for key, value in items)
            self._gone += len(items)

    def _objection(self, size: int) -> str:
        if self._closed:
            return "closed"
        full = len(self._queue) >= self._max_records or self._bytes + size > self._max_bytes
        return "buffer_full" if full else ""

    def _wake_up(self) -> None:
        self._awake = True
        if self._loop is None:
            return
        if asyncio._get_running_loop() is self._loop:
            self._wake.set()
        else:
            with suppress(RuntimeError):  # the loop was closed without close()
                self._loop.call_soon_threadsafe(self._wake.set)
