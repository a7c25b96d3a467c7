"""The whole loop on one machine survives what happens to its processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import ClientSession
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.broker import EmbeddedBroker, free_port
from stream.cli import running
from stream.cli.rebuilding import rebuild_fold
from stream.cli.routes import read_overview
from stream.cli.running import see_to_fold
from stream.cli.sending import send_all
from stream.draining import is_drained
from stream.errors import EddyError, LogGapError
from stream.fold.checkpoint import recover
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.settings import Settings
from stream.supervise import Supervisor
from stream.topics import TRACES, checkpoints_topic
from tests.broker.learner_tools import archived, folded, learned, read_back

pytestmark = [pytest.mark.embedded_only, pytest.mark.slow]

WITHIN_S = 90.0
CHECKOUT = Path(__file__).parents[2]


@asynccontextmanager
async def supervised(settings: Settings, said: list[str]) -> AsyncIterator[Supervisor]:
    """A running supervisor, ended in order."""
    environment = {"EDDY_PARTITIONS": str(settings.partitions), "EDDY_MAX_ARMS": str(settings.max_arms), "EDDY_WORKER_PORT": "0", "EDDY_LEARNER_PORT": str(free_port())}
    supervisor = Supervisor(settings, embedded=True, environment=environment, say=said.append, beside=lambda lives: see_to_fold(lives, is_embedded=True))
    running = asyncio.create_task(supervisor.run())
    try:
        await asyncio.wait_for(supervisor.ready.wait(), WITHIN_S)
        yield supervisor
    finally:
        supervisor.stop()
        await asyncio.wait_for(running, WITHIN_S)


async def publish(supervisor: Supervisor, numbers: range) -> None:
    values = [(f"t{n}".encode(), json.dumps({"trace_id": f"t{n}", "query_class": f"c{n % 3}", "model": "m", "outcome": "success"}).encode()) for n in numbers]
    await send_all(supervisor.settings, [(TRACES.name, key, value) for key, value in values])


async def until(look: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], said: list[str]) -> None:
    deadline_s, seen = time.monotonic() + WITHIN_S, None
    while time.monotonic() < deadline_s:
        try:
            if holds(seen := await look()):
                return
        except (EddyError, OSError) as exc:
            seen = exc
        await asyncio.sleep(0.3)
    raise AssertionError(f"{seen!r}; {said}")


def counts_of(supervisor: Supervisor) -> Callable[[], Awaitable[dict[str, int]]]:
    async def look() -> dict[str, int]:
        report = (await read_overview(supervisor.settings)).report()
        return {name: entry["count"] for name, entry in report["classes"].items()}

    return look


def page_of(supervisor: Supervisor) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def look() -> dict[str, Any]:
        served = json.loads((supervisor.settings.data_dir / "learner.json").read_text())
        async with ClientSession() as session, session.get(f"http://{served['host']}:{served['port']}/api/state") as answer:
            return dict(await answer.json())

    return look


def drained(supervisor: Supervisor) -> Callable[[], Awaitable[bool]]:
    return lambda: is_drained(supervisor.settings)


async def test_everything_archived_is_there_again_after_the_broker_was_killed(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker keeps nothing: 300 traces in three classes come back from the archive, and late copies of them still count once."""
    monkeypatch.chdir(CHECKOUT)
    said: list[str] = []
    async with supervised(make_settings("127.0.0.1:1"), said) as supervisor:
        await publish(supervisor, range(300))
        await until(counts_of(supervisor), lambda counts: counts == {"c0": 100, "c1": 100, "c2": 100}, said)
        await until(page_of(supervisor), lambda state: state["overview"]["traces"] == 300 and state["dead_letters"]["total"] == 0, said)
        await until(drained(supervisor), bool, said)
        before = supervisor.settings.bootstrap

        os.kill(json.loads((supervisor.settings.data_dir / "broker.json").read_text())["pid"], signal.SIGKILL)
        await until(_has_said(said, "put back"), bool, said)
        await asyncio.wait_for(supervisor.ready.wait(), WITHIN_S)
        await publish(supervisor, range(200, 330))

        await until(counts_of(supervisor), lambda counts: counts == {"c0": 110, "c1": 110, "c2": 110}, said)
        assert supervisor.settings.bootstrap == before


@asynccontextmanager
async def publishing(bootstrap: str, acknowledged: dict[str, float]) -> AsyncIterator[None]:
    """A client that goes on publishing, 200 traces a second, whatever becomes of the broker; notes when that was handed over which was acknowledged."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    await producer.start()

    async def one(name: str) -> None:
        value = json.dumps({"trace_id": name, "query_class": f"c{len(name) % 3}", "model": "m", "outcome": "success"}).encode()
        published_s = time.monotonic()
        with suppress(KafkaError):
            await producer.send_and_wait(TRACES.name, value, key=name.encode())
            acknowledged[name] = published_s

    async def go_on() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                tasks.create_task(one(f"live-{number}"))
                await asyncio.sleep(0.005)

    client = asyncio.create_task(go_on())
    try:
        yield
    finally:
        client.cancel()
        with suppress(asyncio.CancelledError):
            await client
        await producer.stop()


async def held_and_archived(settings: Settings) -> tuple[dict[int, Any], dict[int, Any]]:
    """Every partition as a worker would recover it, and as the fold of all that is archived."""
    spec = FoldSpec.of(settings)
    held, expected = {}, {}
    for number, rows in archived(settings).items():
        parts = await read_back(settings, checkpoints_topic(spec.id), number)
        held[number] = learned(recover({key: value for _, _, key, value in parts if key is not None and value is not None}, number=number, spec=spec)[0])
        expected[number] = learned(folded(PartitionState(number, spec), rows))
    return held, expected


async def test_client_that_goes_on_publishing_does_not_keep_the_broker_from_coming_back(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker is killed twice under 200 traces a second. It comes back at the first try; all that was archived is there, nothing counts
    twice, no two records have one offset, and all that was published since the broker that lives on was launched, and acknowledged, counts.
    """
    monkeypatch.chdir(CHECKOUT)
    said: list[str] = []
    acknowledged: dict[str, float] = {}
    launched_s = _noted_launches(monkeypatch)
    async with supervised(make_settings("127.0.0.1:1"), said) as supervisor:
        settings = supervisor.settings
        async with publishing(settings.bootstrap, acknowledged):
            await until(counts_of(supervisor), lambda counts: sum(counts.values()) > 200, said)
            for _ in range(2):
                said.clear()
                os.kill(json.loads((settings.data_dir / "broker.json").read_text())["pid"], signal.SIGKILL)
                await until(_has_said(said, "put back"), bool, said)
                await asyncio.wait_for(supervisor.ready.wait(), WITHIN_S)
                await _counted_beyond(supervisor, 200, said)
        await until(drained(supervisor), bool, said)
        await until(lambda: held_and_archived(settings), lambda pair: pair[0] == pair[1], said)
        rows = archived(settings)
        names = [(key or b"").decode() for each in rows.values() for _, _, key, _ in each]
        await until(counts_of(supervisor), lambda counts: sum(counts.values()) == len(set(names)), said)
    acknowledged_by_this_one = {name for name, published_s in acknowledged.items() if published_s > launched_s[-1]}
    assert len(acknowledged_by_this_one) > 200
    assert acknowledged_by_this_one <= set(names)
    assert all(before < after for each in rows.values() for (before, *_), (after, *_) in itertools.pairwise(each))
    assert not any("failed" in line for line in said), said


def _noted_launches(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When broker processes were launched: one that a client was quicker than is thrown away, with what it had acknowledged."""
    launch, launched_s = EmbeddedBroker._launch, []

    def noted(broker: EmbeddedBroker, binary: Path) -> subprocess.Popen[bytes]:
        launched_s.append(time.monotonic())
        return launch(broker, binary)

    monkeypatch.setattr(EmbeddedBroker, "_launch", noted)
    return launched_s


async def _counted_beyond(supervisor: Supervisor, more: int, said: list[str]) -> None:
    before = sum((await counts_of(supervisor)()).values())
    await until(counts_of(supervisor), lambda counts: sum(counts.values()) > before + more, said)


async def test_broker_that_has_grown_too_large_is_recycled_with_what_it_held(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to notice that the embedded broker never deletes: it is drained, made anew and filled again."""
    monkeypatch.chdir(CHECKOUT)
    said: list[str] = []
    sizes = iter([0])
    async with supervised(make_settings("127.0.0.1:1"), said) as supervisor:
        await publish(supervisor, range(90))
        await until(counts_of(supervisor), lambda counts: sum(counts.values()) == 90, said)
        first = json.loads((supervisor.settings.data_dir / "broker.json").read_text())["pid"]
        sizes = iter([10**12])
        monkeypatch.setattr(EmbeddedBroker, "resident_bytes", property(lambda self: next(sizes, 0)))

        await until(_has_said(said, "put back"), bool, said)
        await asyncio.wait_for(supervisor.ready.wait(), WITHIN_S)

        await until(counts_of(supervisor), lambda counts: counts == {"c0": 30, "c1": 30, "c2": 30}, said)
        assert json.loads((supervisor.settings.data_dir / "broker.json").read_text())["pid"] != first
        assert any("grown too large" in line for line in said)


async def test_change_of_fold_settings_takes_effect_over_restarts_and_back_again(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart the broker has the end of the log only: a rebuild on it would lose what was learned and is refused. A start with the
    new settings folds all 90 archived traces and makes that fold active by itself; so does one with the old settings.
    """
    monkeypatch.chdir(CHECKOUT)
    said: list[str] = []
    old = make_settings("127.0.0.1:1")
    new = old.model_copy(update={"max_arms": 5})
    monkeypatch.setattr(running, "say", said.append)
    async with supervised(old, said) as supervisor:
        await publish(supervisor, range(90))
        await until(counts_of(supervisor), lambda counts: sum(counts.values()) == 90, said)
        await until(drained(supervisor), bool, said)

    async with supervised(old, said) as supervisor:
        await until(counts_of(supervisor), lambda counts: sum(counts.values()) == 90, said)
        with pytest.raises(LogGapError, match="stop `eddy up` and start it with these settings"):
            await rebuild_fold(supervisor.settings.model_copy(update={"max_arms": 5}), start_worker=True, quiet=True)

    for settings in (new, old):
        fold = FoldSpec.of(settings).id
        async with supervised(settings, said) as supervisor:
            await until(_has_said(said, f"fold {fold} is active now"), bool, said)
            await until(counts_of(supervisor), lambda counts: counts == {"c0": 30, "c1": 30, "c2": 30}, said)
            assert (await read_overview(supervisor.settings)).fold == fold


def _has_said(said: list[str], words: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return any(words in line for line in said)

    return look


def test_no_process_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """An orphaned broker would hold the folder's lock, and an orphaned worker its place in the group."""
    environment = {**os.environ, "EDDY_WORKER_PORT": str(free_port()), "EDDY_LEARNER_PORT": str(free_port())}
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen([sys.executable, "-m", "stream", "up", "--data-dir", str(tmp_path / "data")], stdout=log, stderr=log, env=environment, cwd=CHECKOUT)
    try:
        deadline_s = time.monotonic() + WITHIN_S
        while len(children := psutil.Process(up.pid).children(recursive=True)) < 3:
            assert time.monotonic() < deadline_s, (tmp_path / "up.log").read_text()
            time.sleep(0.1)
    finally:
        up.kill()
        up.wait()

    _, alive = psutil.wait_procs(children, timeout=10)

    assert alive == []


def test_up_says_where_everything_is_and_ends_in_order(tmp_path: Path) -> None:
    """A first user reads the address, the line for the environment and a command to try; Ctrl-C ends everything with status 0."""
    environment = {**os.environ, "EDDY_WORKER_PORT": str(free_port()), "EDDY_LEARNER_PORT": str(free_port())}
    up = subprocess.Popen([sys.executable, "-m", "stream", "up", "--data-dir", str(tmp_path / "data")], stdout=subprocess.PIPE, text=True, env=environment, cwd=CHECKOUT)
    assert up.stdout is not None
    try:
        lines = []
        while not any("waiting for the first trace" in line for line in lines):
            lines.append(up.stdout.readline())
            assert lines[-1], lines
    finally:
        up.send_signal(signal.SIGINT)
    rest, _ = up.communicate(timeout=WITHIN_S)

    assert up.returncode == 0
    said = "".join(lines)
    address = json.loads((tmp_path / "data" / "broker.json").read_text())["bootstrap"]
    assert f"export EDDY_BOOTSTRAP={address}" in said
    assert "eddy publish --example" in said
    assert f"http://127.0.0.1:{environment['EDDY_LEARNER_PORT']}/" in said
    assert "everything has ended" in rest
