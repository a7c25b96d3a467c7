"""Folds the retained log anew under the settings of now, and names that fold active once it has caught up.

1. Start a worker with these settings: another fold is another consumer group, so it reads the log from its start and
   publishes nothing while another fold is active.
2. Watch its committed offsets until they reach the last records before the ends of the log as they were at the start; it follows
   from there. The ends themselves may lie behind offsets without a record, as a producer's transactions leave them.
3. Name its fold active on `eddy.overrides`; workers of the other fold stop publishing when they read that.
4. Wait until the new fold's totals are published, so that there is something to route by until other workers take over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from stream.cli.common import note, plain
from stream.errors import LogGapError
from stream.records import Override
from stream.topics import OVERRIDES, TRACES

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from stream.settings import Settings

LOOK_S = 1.0
ACTIVE_FOLD = Override(kind="active_fold").key
PUBLISHED_S = 15.0
"""How long is waited for totals: a log of nothing but feedback never has any."""


async def rebuild_fold(settings: Settings, *, start_worker: bool, quiet: bool) -> dict[str, Any]:
    """Rebuild; returns `fold`, `records` read, and `was_active` where there was nothing to do.

    Raises:
        LogGapError: the embedded broker has the end of the log only, and the archive all of it.
    """
    from stream.cli.routes import read_overview
    from stream.fold.spec import FoldSpec

    fold = FoldSpec.of(settings).id
    if (await read_overview(settings)).fold == fold:
        return {"fold": fold, "records": 0, "was_active": True}
    _refuse_end_of_log(settings)
    async with _worker(settings, start=start_worker):  # 1
        return {"fold": fold, "records": await _take_over(settings, fold, reason="eddy rebuild", quiet=quiet), "was_active": False}


async def adopt_fold(settings: Settings, *, is_embedded: bool, say: Callable[[str], None]) -> None:
    """Beside workers that have just started with these settings, see to it that what they learn is served, or say what does it.

    The embedded broker has no other workers: their fold becomes the active one once it has folded what came behind the archive.
    On a Kafka others may serve the active fold, and an operator decides.
    """
    from stream.cli.routes import read_overview
    from stream.fold.spec import FoldSpec

    fold, active = FoldSpec.of(settings).id, (await read_overview(settings)).overrides.get(ACTIVE_FOLD)
    if active is None or active.fold == fold:
        return
    if not is_embedded:
        say(f"these settings make fold {fold}, but {active.fold} is the active one and goes on being served; `eddy rebuild` makes {fold} active")
        return
    say(f"these settings make fold {fold}, and {active.fold} was the active one: {fold} takes its place once it has folded the log; until then the routes stay as they are")
    await _take_over(settings, fold, reason="eddy up with other settings", quiet=True)
    say(f"fold {fold} is active now")


def _refuse_end_of_log(settings: Settings) -> None:
    from stream.archive.reader import ArchiveReader
    from stream.archive.restore import ARCHIVE_FILE
    from stream.learner import is_embedded

    if not is_embedded(settings):
        return
    with suppress(FileNotFoundError), ArchiveReader(settings.data_dir / ARCHIVE_FILE) as archive:
        if archive.before_log:
            raise LogGapError(
                "the embedded broker was started anew and has the end of the log only, but another fold must read all of it, which the archive has;"
                " stop `eddy up` and start it with these settings: it folds the whole archive and makes the new fold active"
            )


async def _take_over(settings: Settings, fold: str, *, reason: str, quiet: bool) -> int:
    from stream.cli.sending import send_record

    records = await _caught_up(settings, f"eddy-{fold}", quiet=quiet)  # 2
    override = Override(kind="active_fold", fold=fold, reason=reason, given_at=time.time())
    await send_record(settings, OVERRIDES.name, override.key, override)  # 3
    if records:
        await _published(settings)  # 4
    return records


@asynccontextmanager
async def _worker(settings: Settings, *, start: bool) -> AsyncIterator[None]:
    from stream.children import Child

    log_path = settings.data_dir / "logs" / "rebuild.log"
    environment = {"EDDY_BOOTSTRAP": settings.bootstrap, "EDDY_INSTANCE": "rebuild", "EDDY_WORKER_PORT": "0"}
    child = Child("rebuild", "worker", environment=environment, log_path=log_path, say=lambda text: note(plain(text, most=600)))
    if start:
        child.start()
    try:
        yield
    finally:
        await child.end(in_order=True)


async def _caught_up(settings: Settings, group: str, *, quiet: bool) -> int:
    async with _offsets(settings, group) as committed_at:
        with _progress(quiet=quiet) as advance:
            ends = await _ends(settings)
            before: dict[TopicPartition, int] = {}
            committed = await committed_at(ends)
            while not has_reached(committed, ends):
                advance(sum(min(committed[partition], end) for partition, end in ends.items()), sum(ends.values()))
                standing = {partition: offset for partition, offset in committed.items() if before.get(partition) == offset < ends[partition]}
                for partition in await _without_records(settings, standing):
                    ends[partition] = standing[partition]
                await asyncio.sleep(LOOK_S)
                before, committed = committed, await committed_at(ends)
        return sum(ends.values())


async def _without_records(settings: Settings, standing: Mapping[TopicPartition, int]) -> list[TopicPartition]:
    """Of partitions whose commits stand still, those that have no record from there on: nothing more will be committed."""
    from stream.transport.probe import look

    views = await look(settings.client_options, {(partition.topic, partition.partition): offset for partition, offset in standing.items()})
    return [partition for partition, view in zip(standing, views.values(), strict=True) if view.record is None]


async def _published(settings: Settings) -> None:
    from stream.cli.routes import read_overview

    deadline_s, before = time.monotonic() + PUBLISHED_S, 0
    while time.monotonic() < deadline_s:
        counted = (await read_overview(settings)).trace_count
        if counted and counted == before:
            return
        before = counted
        await asyncio.sleep(LOOK_S)


def has_reached(committed: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> bool:
    """Tell whether every partition that has records is committed to its end."""
    return all(committed.get(partition, 0) >= end for partition, end in ends.items())


async def _ends(settings: Settings) -> dict[TopicPartition, int]:
    from stream.topic_reader import reading

    async with reading(settings, TRACES.name) as reader:
        return await reader.ends()


@asynccontextmanager
async def _offsets(settings: Settings, group: str) -> AsyncIterator[Callable[[Iterable[TopicPartition]], Awaitable[dict[TopicPartition, int]]]]:
    """Ask for what a group has committed, without joining it; the embedded broker hangs up on an admin client that asks."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(**settings.client_options, group_id=group, enable_auto_commit=False)

    async def committed_at(partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: await consumer.committed(partition) or 0 for partition in partitions}

    await consumer.start()
    try:
        yield committed_at
    finally:
        await consumer.stop()


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("folding", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
