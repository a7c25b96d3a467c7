"""The archive as its one writer has it: appending, indexing, forgetting, each in one transaction.

A record's way into the file:
1. `take` numbers and reads a batch, which may happen while the one before it is being written.
   `write` writes its blocks, its partitions' positions, and what the mirror holds that these cover: one transaction.
   After a crash before its end nothing of it is there, and the batch is read from the log again; after it all of it is.
2. `index` writes the runs of what was appended since the last time, carries out its forgets and moves the mark: one transaction.
   After a crash before its end the next writer finds out what was not indexed by reading those blocks again.
3. It merges runs that have grown many: one transaction. After a crash before its end they are as many still, and are merged next time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import aiosqlite

from stream.archive import runs, schema
from stream.archive.blocks import RECORDS, Kind, pack
from stream.archive.bloom import BloomFilter
from stream.archive.forgetting import begin_overwriting, expire_tombstones, finish_overwriting, forget
from stream.archive.indexing import index, oldest_seq, unindexed
from stream.archive.intake import Intake, LogRecord, Pending, Rules, Taken
from stream.archive.mirror import Covered, Mirror
from stream.archive.positions import Position
from stream.archive.retention import Removed, is_removal_due, remove_oldest, used_bytes

STEP_RECORDS = 8 * RECORDS
"""Read without a pause: some 7 ms. Whole blocks, so that a pause leaves none that is not full."""
VACUUM_PAGES = 1024
"""8 MiB: some 10 ms."""
_ADD = "INSERT INTO {table} VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"


Connect = Callable[[Path], Awaitable[aiosqlite.Connection]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records taken and not written yet.

    Attributes:
        before: positions of all partitions that it follows.
        taken: of every partition that has new ones.
        positions: of all partitions, once it is written.
        next_seq: number of the next record after it.
    """

    before: dict[int, Position]
    taken: list[Taken]
    positions: dict[int, Position]
    next_seq: int

    def __len__(self) -> int:
        return sum(each.counts.total() for each in self.taken)


class Archive:
    """The archive, owned. `Archive.open` makes one.

    Attributes:
        positions: where each partition of the log stands.
        counts: what has been counted since the archive began: kinds of records, `duplicates`, `forgotten`, `lost`, `epochs`, `removed`.
    """

    def __init__(self, path: Path, rules: Rules, database: aiosqlite.Connection, lock: schema.WriterLock, mirror: Mirror | None) -> None:
        self._path, self._rules, self._database, self._lock, self._mirror = path, rules, database, lock, mirror
        self.positions: dict[int, Position] = {}
        self.counts: Counter[str] = Counter()
        self._intake = Intake(rules)
        self._pending = Pending()
        self._known = BloomFilter()
        self._next_seq = 1
        self._ahead: Batch | None = None
        self._indexed = 0
        self._unclean = False
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, rules: Rules, *, mirror: Mirror | None = None, connect: Connect = schema.connect_beside) -> Archive:
        """Open the archive for writing, or create it.

        Args:
            path: the file; its folder is made.
            rules: how records are read.
            mirror: what keeps the records of other topics; None where nothing is mirrored.
            connect: opens the database, by default in a thread of its own.

        Raises:
            NotOwnedError: another writer has it.
            ArchiveFormatError: the file is none of ours.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = schema.WriterLock(path)
        try:
            archive = cls(path, rules, await schema.open_for_writing(path, connect), lock, mirror)
            await archive._load()
        except BaseException:
            lock.release()
            raise
        return archive

    async def close(self) -> None:
        """Close the file and let the lock go; what is not indexed is, by the next writer."""
        await self._database.close()
        self._lock.release()

    @property
    def unindexed(self) -> int:
        """Records appended and not indexed yet."""
        return self._next_seq - 1 - self._indexed

    def position(self, partition: int) -> Position:
        """Where a partition stands; a new one stands before its first record."""
        return self.positions.get(partition) or Position(partition=partition)

    async def append(self, chunks: Mapping[int, Sequence[LogRecord]]) -> int:
        """Archive the next records of some partitions: `take` and `write`."""
        return await self.write(await self.take(chunks))

    async def take(self, chunks: Mapping[int, Sequence[LogRecord]]) -> Batch:
        """Number and read the next records of some partitions, after those taken before; one call at a time.

        Others have their turn in between: what is being written asks for the event loop again and again.

        Args:
            chunks: records in order, by partition; those that are archived or taken already are skipped.
        """
        before, seq = (self.positions, self._next_seq) if self._ahead is None else (self._ahead.positions, self._ahead.next_seq)
        positions, taken = dict(before), []
        for partition, records in chunks.items():
            for start in range(0, len(records), STEP_RECORDS):
                each = self._intake.take(positions.get(partition) or Position(partition=partition), records[start : start + STEP_RECORDS], first_seq=seq)
                if each.blocks:
                    positions[partition], seq = each.position, each.blocks[-1].last_seq + 1
                    taken.append(each)
                await asyncio.sleep(0)
        self._ahead = Batch(before, taken, positions, seq)
        return self._ahead

    async def write(self, batch: Batch) -> int:
        """Write a batch, and what is mirrored up to there; batches in the order in which they were taken.

        Returns:
            The number of records archived.

        Raises:
            ValueError: what the batch follows is not what is archived: after an error what was taken before it must be taken again.
        """
        if batch.before is not self.positions:
            raise ValueError("this batch was taken after another one than was written last, or before an error; take its records again")
        counts = sum((each.counts for each in batch.taken), Counter[str]())
        covered = self._mirror.covered(batch.positions) if self._mirror is not None else None
        try:
            if batch.taken or covered:
                await self._write(batch, counts, covered)
        except BaseException:
            self._ahead = None
            raise
        self._note(batch, counts)
        return sum(counts.values())

    async def _write(self, batch: Batch, counts: Counter[str], covered: Covered | None) -> None:
        rows = (pack(block) for each in batch.taken for block in each.blocks)  # packed as they are asked for, in SQLite's thread
        async with self._transaction():
            await self._database.executemany("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            await self._put([each.position for each in batch.taken], counts, {"next_seq": batch.next_seq})
            if covered:
                await covered.write(self._database)
        if covered and self._mirror is not None:
            self._mirror.release(covered)

    async def index(self) -> None:
        """Index what was appended, and forget what that asks for."""
        pending, self._pending = self._pending, Pending()
        last_seq = self._next_seq - 1
        if last_seq == self._indexed:
            return
        try:
            await self._index(pending, last_seq)
        except BaseException:
            pending.extend(self._pending)
            self._pending = pending
            raise
        await self._merge()

    async def begin_epoch(self, partition: int, *, first_physical: int) -> None:
        """Go on in a partition that was made anew."""
        position = self.position(partition).in_new_log(first_physical)
        await self._move(position, Counter({"epochs": 1}))

    async def mark(self, name: str, value: int) -> None:
        """Write a mark of the owner's own beside the archive's."""
        async with self._transaction():
            await self._put([], Counter(), {name: value})

    async def skip_lost(self, partition: int, *, to_physical: int) -> int:
        """Go on at a physical offset, the records before it having been removed by the broker; returns how many were lost."""
        position = self.position(partition)
        lost = to_physical - position.next_physical
        first = position.offset < 0 and position.epoch == 0
        await self._move(replace(position, offset=position.offset + lost, record_hash=None), Counter({"lost": 0 if first else lost}))
        return lost

    async def remove_oldest(self, *, before_ms: int, max_bytes: int) -> Removed:
        """Remove one bounded step's worth of what is too old or too much (see `stream.archive.retention`).

        What a restore would need stays: with a mirror, all of the log after the newest checkpoint.

        Args:
            before_ms: log time before which records are too old.
            max_bytes: bytes in use above which the oldest go.
        """
        if not await is_removal_due(self._database, before_ms=before_ms, max_bytes=max_bytes):
            return Removed()
        keep_from = await self._mirror.needed_from(self._database, self.positions) if self._mirror is not None else None
        async with self._transaction():
            removed = await remove_oldest(self._database, before_ms=before_ms, max_bytes=max_bytes, last_seq=self._indexed, keep_from=keep_from)
            await self._put([], Counter({"removed": removed.records}), {})
        self.counts["removed"] += removed.records
        if not removed.records and self._mirror is not None:
            self._mirror.look_again()
        return removed

    async def tidy(self, *, now_ms: int, forgotten_before_ms: int = 0) -> None:
        """Give freed pages back, a bounded number; let the mirror and tombstones expire; overwrite what a reader kept from being overwritten.

        Args:
            now_ms: epoch milliseconds.
            forgotten_before_ms: log time of a Forget before which its trace may be forgotten about: nothing of it can be in the log any more.
        """
        async with self._transaction():
            if self._mirror is not None:
                await self._mirror.expire(self._database, now_ms)
            expired = await expire_tombstones(self._database, forgotten_before_ms)
        self._intake.forgotten.difference_update(expired)
        await self._database.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")  # as a statement it would free one page
        if self._unclean:
            await self._overwrite()

    async def size(self) -> tuple[int, int]:
        """Return bytes in use, and records kept."""
        return await used_bytes(self._database), sum(self.counts[kind.name.lower()] for kind in Kind) - self.counts["removed"]

    async def _load(self) -> None:
        self.positions = {position.partition: position for position in await schema.read_positions(self._database)}
        async with self._database.execute("SELECT name, value FROM counts") as cursor:
            self.counts.update({name: value async for name, value in cursor})
        async with self._database.execute("SELECT trace_id FROM forgotten") as cursor:
            self._intake.forgotten.update([trace_id async for (trace_id,) in cursor])
        await self._database.execute("INSERT OR IGNORE INTO marks VALUES (?, ?)", (schema.PARTITIONS_MARK, self._rules.partitions))
        marks = "SELECT value FROM marks WHERE name = ?"
        self._next_seq = max(1, await schema.scalar(self._database, marks, ("next_seq",)))
        self._indexed = await schema.scalar(self._database, marks, ("indexed",))
        await self._known.load(self._database, live_from=await oldest_seq(self._database))
        self._pending = await unindexed(self._database, self._intake, after_seq=self._indexed)
        self._intake.forgotten.update(trace_id for trace_id, _ in self._pending.forgets)
        if self._mirror is not None:
            await self._mirror.load(self._database)

    def _note(self, batch: Batch, counts: Counter[str]) -> None:
        self.positions, self._next_seq = batch.positions, batch.next_seq
        if self._ahead is batch:
            self._ahead = None
        self.counts.update(counts)
        for each in batch.taken:
            self._pending.extend(each.pending)

    async def _index(self, pending: Pending, last_seq: int) -> None:
        if pending.forgets:
            await begin_overwriting(self._database)
        async with self._transaction():
            counts = await index(self._database, pending, known=self._known, partitions=self._rules.partitions, last_seq=last_seq)
            for trace_id, log_ms in pending.forgets:
                counts["forgotten"] += await forget(self._database, trace_id, log_ms=log_ms)
            await self._put([], counts, {"indexed": last_seq})
        self._indexed = last_seq
        self.counts.update(counts)
        if pending.forgets:
            await self._overwrite()

    async def _merge(self) -> None:
        while sources := await runs.due(self._database):
            async with self._transaction():
                await runs.merge(self._database, sources, live_from=await oldest_seq(self._database))

    async def _overwrite(self) -> None:
        self._unclean = not await finish_overwriting(self._database)

    async def _move(self, position: Position, counts: Counter[str]) -> None:
        async with self._transaction():
            await self._put([position], counts, {})
        self.positions, self._ahead = self.positions | {position.partition: position}, None
        self.counts.update(counts)

    async def _put(self, positions: list[Position], counts: Counter[str], marks: dict[str, int]) -> None:
        await self._database.executemany(schema.PUT_POSITION, [astuple(position) for position in positions])
        await self._database.executemany(_ADD.format(table="counts"), list(counts.items()))
        await self._database.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", list(marks.items()))

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        async with self._writing:
            try:
                await self._database.execute("BEGIN IMMEDIATE")  # inside: a cancelled call is carried out all the same
                yield
                await self._database.execute("COMMIT")
            except BaseException:
                await schema.rollback(self._database)
                raise
