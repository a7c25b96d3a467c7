"""What was learned is there again after the embedded broker has lost everything."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from stream.archive.reader import ArchiveReader
from stream.archive.restore import ARCHIVE_FILE, restore
from stream.broker import EmbeddedBroker
from stream.errors import BrokerNotEmptyError, NotOwnedError
from stream.fold.checkpoint import recover, write_checkpoint
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.provision import changelog, provision
from stream.records import PartitionStatistics
from stream.settings import Settings
from stream.topics import CYCLES, DEAD_LETTERS, OVERRIDES, ROUTING, STATISTICS, TRACES, checkpoints_topic
from tests.broker.learner_tools import archived, folded, learned, learning, log_of, producing, publish, read_back, until

pytestmark = pytest.mark.embedded_only
Make = Callable[..., Settings]


async def write_down(settings: Settings, state: PartitionState) -> None:
    """Do what a worker does: a full checkpoint of a state, and its running total."""
    spec = FoldSpec.of(settings)
    _, known = recover({}, number=state.number, spec=spec)
    checkpoint = write_checkpoint(state, known, checkpoint_id=uuid.uuid4().bytes, full=True)
    async with producing(settings) as producer:
        for part in checkpoint.parts:
            await producer.send_and_wait(checkpoints_topic(spec.id), part.value, key=part.key, partition=state.number)
        said = PartitionStatistics(fold=spec.id, partition=state.number, offset=state.offset, log_time_ms=0, query_class="code", arms=())
        await producer.send_and_wait(STATISTICS.name, msgspec.json.encode(said), key=f"{spec.id}/{state.number}/code".encode())


async def decide(settings: Settings, word: str, *, query_class: str) -> None:
    """Write a record on each kind of small topic: one key again and again, a new key, a log."""
    async with producing(settings) as producer:
        await producer.send_and_wait(OVERRIDES.name, word.encode(), key=b"freeze/*", headers=[("h", b"1")])
        await producer.send_and_wait(ROUTING.name, word.encode(), key=query_class.encode())
        await producer.send_and_wait(CYCLES.name, word.encode(), key=b"cycle")


async def recovered(settings: Settings, number: int) -> PartitionState:
    """Do what a worker does after a restart: the newest state, then the new log from its start."""
    spec = FoldSpec.of(settings)
    rows = await read_back(settings, checkpoints_topic(spec.id), number)
    state, _ = recover({key: value for _, _, key, value in rows if value is not None}, number=number, spec=spec)
    return folded(state, await read_back(settings, TRACES.name, number))


async def everything(settings: Settings) -> None:
    await provision(settings, [changelog(checkpoints_topic(FoldSpec.of(settings).id), partitions=settings.partitions)])


def mirrored(settings: Settings) -> dict[tuple[str, int], int]:
    with ArchiveReader(settings.data_dir / ARCHIVE_FILE) as reader:
        return {(topic, partition): offset for topic, partition, offset in reader._database.execute("SELECT * FROM mirror_positions")}


async def test_restore_brings_back_what_was_learned_as_often_as_needed(tmp_path: Path, make_settings: Make) -> None:
    """Three lives of one loop. In each the log is published, checkpointed in the middle, archived, and lost; the next one recovers a state
    that equals the fold of everything ever published, under the same numbers.
    """
    broker = EmbeddedBroker(tmp_path / "broker")
    settings = make_settings(await broker.start(), partitions=2)
    oracle = [PartitionState(number, FoldSpec.of(settings)) for number in range(2)]
    published: dict[int, list] = {0: [], 1: []}
    try:
        await everything(settings)
        for life in range(3):
            await publish(settings, [f"t{number}" for number in range(60 * life, 60 * life + 50)])
            now = [await recovered(settings, number) for number in range(2)]
            for state in now:
                await write_down(settings, state)
            await publish(settings, [f"t{number}" for number in range(60 * life + 40, 60 * life + 60)], feedback=0.5)
            await decide(settings, f"life {life}", query_class=f"class-{life}")
            log = await log_of(settings)
            for number, rows in log.items():
                published[number] += rows
            async with learning(settings, mirror=True):
                await until(lambda: [len(rows) for rows in archived(settings).values()] == [len(rows) for rows in published.values()])
                await until(lambda life=life: mirrored(settings).get((CYCLES.name, 0)) == life + 1 and mirrored(settings).get((OVERRIDES.name, 0)))
                await until(lambda: (STATISTICS.name, 0) in mirrored(settings))
                await asyncio.sleep(0.5)
            broker.kill()
            await broker.start()
            steps: list[tuple[int, int]] = []

            done = await restore(settings, progress=lambda at, total, steps=steps: steps.append((at, total)))

            assert steps[-1] == (done, done)
            for number in range(2):
                rows = [(offset, *row[1:]) for offset, row in enumerate(published[number])]
                folded(oracle[number], rows)
                state = await recovered(settings, number)
                assert learned(state) == learned(oracle[number])
            assert [row[3] for row in await read_back(settings, OVERRIDES.name, 0)] == [f"life {life}".encode()]
            assert [row[3] for row in await read_back(settings, ROUTING.name, 0)] == [f"life {each}".encode() for each in range(life + 1)]
            assert len(await read_back(settings, CYCLES.name, 0)) == life + 1
            assert await log_of(settings) == {0: [], 1: []}
    finally:
        broker.kill()
    assert [row[1:] for rows in archived(settings).values() for row in rows] == [row[1:] for rows in published.values() for row in rows]


async def test_restore_folds_the_whole_archive_for_a_fold_that_is_new(tmp_path: Path, make_settings: Make) -> None:
    """After a change of what makes the fold id no checkpoint stands: all that is archived is folded anew, and the other fold's parts go."""
    broker = EmbeddedBroker(tmp_path / "broker")
    settings = make_settings(await broker.start(), partitions=1)
    changed = settings.model_copy(update={"max_arms": 5})
    try:
        await everything(settings)
        await publish(settings, [f"t{number}" for number in range(30)])
        await write_down(settings, await recovered(settings, 0))
        async with learning(settings, mirror=True):
            await until(lambda: len(archived(settings)[0]) == 30 and (checkpoints_topic(FoldSpec.of(settings).id), 0) in mirrored(settings))
            await asyncio.sleep(0.3)
        rows = (await log_of(settings))[0]
        broker.kill()
        await broker.start()

        await restore(changed)

        assert learned(await recovered(changed, 0)) == learned(folded(PartitionState(0, FoldSpec.of(changed)), rows))
        assert (checkpoints_topic(FoldSpec.of(settings).id), 0) not in mirrored(settings)
        async with learning(changed, mirror=True):
            await publish(changed, ["after"])
            await until(lambda: len(archived(changed)[0]) == 31)
    finally:
        broker.kill()


async def test_new_fold_does_not_send_again_what_the_old_one_has_sent(tmp_path: Path, make_settings: Make) -> None:
    """Two misplaced traces and two broken records; the old fold's checkpoint covers one of each. Only the others are sent by the new fold:
    a copy of a forward from beyond the horizon would count a second time.
    """
    broker = EmbeddedBroker(tmp_path / "broker")
    settings = make_settings(await broker.start(), partitions=1)
    changed = settings.model_copy(update={"max_arms": 5})
    old = checkpoints_topic(FoldSpec.of(settings).id)
    try:
        await everything(settings)
        for life in ("covered", "open"):
            async with producing(settings) as producer:
                await producer.send_and_wait(TRACES.name, msgspec.json.encode({"trace_id": life}), key=b"another", partition=0)
                await producer.send_and_wait(TRACES.name, f"not JSON, {life}".encode(), key=b"key", partition=0)
            if life == "covered":
                await write_down(settings, await recovered(settings, 0))
        async with learning(settings, mirror=True):
            await until(lambda: len(archived(settings)[0]) == 4 and (old, 0) in mirrored(settings))
            await asyncio.sleep(0.3)
        broker.kill()
        await broker.start()

        await restore(changed)

        assert [row[3] for row in await read_back(changed, DEAD_LETTERS.name, 0)] == [b"not JSON, open"]
        assert [msgspec.json.decode(row[3] or b"")["trace_id"] for row in (await log_of(changed))[0]] == ["open"]
    finally:
        broker.kill()


async def test_restore_refuses_what_it_would_spoil(tmp_path: Path, make_settings: Make) -> None:
    """A broker that holds records, and an archive that a learner is writing; without an archive there is nothing to do."""
    broker = EmbeddedBroker(tmp_path / "broker")
    settings = make_settings(await broker.start(), partitions=1)
    try:
        await everything(settings)
        nothing = await restore(settings)
        await publish(settings, ["t"])
        async with learning(settings, mirror=True):
            await until(lambda: len(archived(settings)[0]) == 1)
            with pytest.raises(NotOwnedError):
                await restore(settings)
        with pytest.raises(BrokerNotEmptyError, match=r"eddy\.traces"):
            await restore(settings)
    finally:
        broker.kill()
    assert nothing == 0


async def test_restore_may_be_killed_half_way(tmp_path: Path, make_settings: Make) -> None:
    """The archive is told last: thrown away with its broker, an unfinished restore leaves no trace, and the next one does all of it."""
    broker = EmbeddedBroker(tmp_path / "broker")
    settings = make_settings(await broker.start(), partitions=1)
    try:
        await everything(settings)
        await publish(settings, [f"t{number}" for number in range(30)])
        async with learning(settings, mirror=True):
            await until(lambda: len(archived(settings)[0]) == 30)
        rows = (await log_of(settings))[0]
        for _ in range(2):
            broker.kill()
            await broker.start()
            with pytest.raises(KeyboardInterrupt):
                await restore(settings, progress=_interrupt)
        broker.kill()
        await broker.start()

        await restore(settings)

        assert learned(await recovered(settings, 0)) == learned(folded(PartitionState(0, FoldSpec.of(settings)), rows))
    finally:
        broker.kill()


def _interrupt(at: int, total: int) -> None:
    raise KeyboardInterrupt
