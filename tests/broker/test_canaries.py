"""A canary through the whole loop: worker, learner, router and agent; its share, its end, and a learner that is killed meanwhile."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from benchmarks.cycle import rows
from stream import leash
from stream.client import AgentConfigs, Eddy
from stream.cycles.plan import Plan
from stream.provision import provision
from stream.reading.partitioning import partition_of
from stream.records import is_trial
from stream.topics import TRACES
from tests.broker.learner_tools import count, producing, until
from tests.broker.test_cycles import AGENT, BY_HAND, ask, live_text, told
from tests.broker.test_worker import Loop
from tests.conftest import Broker

pytestmark = pytest.mark.slow

TRACES_MADE = 600
SHARE = 0.05
WITHDRAWN_WITHIN_S = 5.0
MOST_REQUESTS = 6_000


@pytest.fixture
async def loop(fresh_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Loop]:
    """A deployment that tries changed configurations on users, and has nothing else that could judge them."""
    given = {"ARM": "model,agent,config", "CANARY_SHARE": SHARE, "CANARY_TOOLS": "1", "LEARNER_PORT": "0"}
    for name, value in given.items():
        monkeypatch.setenv(f"EDDY_{name}", str(value))
    made = Loop(fresh_broker, tmp_path)
    await provision(made.settings)
    async with producing(made.settings) as producer:
        for row in rows(0, TRACES_MADE):
            trace = msgspec.json.decode(row.value or b"") | {"agent": AGENT, "model": f"m{row.offset % 2}"}
            await producer.send(TRACES.name, msgspec.json.encode(trace), key=row.key, partition=partition_of(row.key, made.settings.partitions))
    config_dir = Plan.of(made.settings).config_dir
    config_dir.mkdir(parents=True)
    (config_dir / f"{AGENT}.toml").write_text(BY_HAND)
    yield made
    await made.fleet.close()


def environ_for(loop: Loop) -> dict[str, str]:
    own = {"BOOTSTRAP": loop.settings.bootstrap, "DATA_DIR": str(loop.settings.data_dir), "PARTITIONS": str(loop.settings.partitions)}
    return os.environ | {f"EDDY_{name}": value for name, value in own.items()}


@contextmanager
def learner(loop: Loop) -> Iterator[subprocess.Popen[bytes]]:
    """A learner in a process of its own, that can be killed; what it says goes to a file."""
    with (loop.settings.data_dir / "learner.log").open("ab") as log:
        process = leash.start([sys.executable, "-m", "stream", "learner"], env=environ_for(loop), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


class Fleet:
    """Agents that serve by the configuration that their arm names; whether one succeeds depends on whether it has the browser."""

    def __init__(self, eddy: Eddy, configs: AgentConfigs, *, needs_browser: bool) -> None:
        self._eddy, self._configs, self._needs_browser = eddy, configs, needs_browser
        self.served = self.by_canary = 0

    async def serve(self, requests: int) -> None:
        for number in range(requests):
            async with self._eddy.request(f"How many rows has table {number}?", query_class="topic-1") as request:
                version = request.arm.config_version
                config = self._configs.get(AGENT, version)
                text = config.toml if config is not None else BY_HAND
                has_browser = "browser" in tomllib.loads(text)["agent"]["tools"]
                request.finish(outcome="success" if has_browser == self._needs_browser or number % 4 == 0 else "failure")
            self.served += 1
            self.by_canary += is_trial(version)
            if is_trial(version):
                assert config is not None
        await self._eddy.flush()

    def canaries(self) -> list[str]:
        """The canaries that the router may draw."""
        table = self._eddy.router.snapshot.table("topic-1")
        return [] if table is None else [arm.id for arm in table.update.arms if arm.state == "canary" and arm.probability > 0]


@pytest.mark.parametrize("needs_browser", [True, False], ids=["a change that hurts", "a change that helps"])
async def test_canary_serves_a_twentieth_until_it_is_judged(loop: Loop, needs_browser: bool) -> None:
    """The evidence says to take the browser away. Where users need it the canary is withdrawn within five seconds, else it goes live; a killed learner goes on where it was."""
    await loop.start()
    with learner(loop) as process:
        await until(lambda: count(loop.settings) == TRACES_MADE, within_s=60.0)
        await asyncio.sleep(1.5)
        await ask(loop.settings, "c1", agent=AGENT)
        cycle = await told(loop.settings, "c1", lambda cycle: cycle.status)
        assert (cycle.status, cycle.candidates[f"config/{AGENT}"]["standing"]) == ("staged", "canary")

        async with Eddy(settings=loop.settings) as eddy, AgentConfigs(settings=loop.settings) as configs:
            fleet = Fleet(eddy, configs, needs_browser=needs_browser)
            await until(lambda: bool(fleet.canaries()) and configs.shadow(AGENT) is not None, within_s=30.0)
            await fleet.serve(300)
            process.kill()
            process.wait()
            with learner(loop):
                began_s = time.monotonic()
                while fleet.canaries() and fleet.served < MOST_REQUESTS:
                    began_s = time.monotonic()
                    await fleet.serve(100)
                    await asyncio.sleep(0.5)
                cycle = await told(loop.settings, "c1", lambda cycle: cycle.candidates[f"config/{AGENT}"]["standing"] != "canary")
                took_s = time.monotonic() - began_s
                await until(lambda: configs.shadow(AGENT) is None, within_s=15.0)
                before = fleet.by_canary
                await fleet.serve(100)

                assert fleet.by_canary == before
                assert before <= SHARE * fleet.served + 5 * math.sqrt(SHARE * fleet.served)  # five standard deviations
                if needs_browser:
                    assert cycle.candidates[f"config/{AGENT}"]["standing"] == "discarded"
                    assert took_s < WITHDRAWN_WITHIN_S
                    assert live_text(loop.settings) == BY_HAND
                else:
                    await until(lambda: "browser" not in (live_text(loop.settings) or ""), within_s=15.0)


async def test_a_person_ends_a_canary_by_a_command(loop: Loop) -> None:
    """`eddy cycles discard` takes a canary that runs as it does what is held; afterwards there is nothing to be said of it."""
    with learner(loop):
        await until(lambda: count(loop.settings) == TRACES_MADE, within_s=60.0)
        await asyncio.sleep(1.5)
        await ask(loop.settings, "c1", agent=AGENT)
        await told(loop.settings, "c1", lambda cycle: cycle.status)
        discard = [sys.executable, "-m", "stream", "cycles", "discard", "c1", f"config/{AGENT}"]
        first = await asyncio.to_thread(subprocess.run, discard, env=environ_for(loop), capture_output=True, check=False)
        assert first.returncode == 0, first.stderr.decode()
        cycle = await told(loop.settings, "c1", lambda cycle: cycle.candidates[f"config/{AGENT}"]["standing"] == "discarded")
        assert cycle.candidates[f"config/{AGENT}"]["why"] == "a person discarded it"
        again = await asyncio.to_thread(subprocess.run, discard, env=environ_for(loop), capture_output=True, check=False)

    assert again.returncode == 1
    assert b"nor a canary" in again.stderr
    assert live_text(loop.settings) == BY_HAND
