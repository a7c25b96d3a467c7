"""Agents that crash, end to end: their decisions stand on the log, their traces never come, and routers hear of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from stream.children import Child
from stream.client import Eddy
from stream.provision import provision
from stream.records import ArmRouting
from stream.settings import DeclaredArm, Settings
from tests.conftest import Broker

pytestmark = pytest.mark.slow

WITHIN_S = 90.0
"""A loaded machine takes ten seconds to start a worker, and the group six to let it in; a decision is silent after one."""
REQUESTS = 300
SURVIVES, SUCCEEDS = 5, 3
"""The brittle arm answers one request of five, always well; the steady one answers all, three of five well."""


@pytest.fixture(params=["failure", "unknown"])
async def settings(fresh_broker: Broker, make_settings: Callable[..., Settings], request: pytest.FixtureRequest) -> Settings:
    arms = (DeclaredArm(id="brittle"), DeclaredArm(id="steady"))
    made = make_settings(fresh_broker.bootstrap, silence=request.param, silence_s=1, arms=arms)
    await provision(made)
    return made


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """A worker process, ended in order afterwards."""
    names = ("bootstrap", "partitions", "data_dir", "worker_port", "silence", "silence_s")
    environment = {f"EDDY_{name.upper()}": str(getattr(settings, name)) for name in names}
    environment["EDDY_ARMS"] = json.dumps([{"id": arm.id} for arm in settings.arms])
    process = Child("worker", "worker", environment=environment, log_path=tmp_path / "worker.log", say=lambda text: None).launch()
    yield
    process.terminate()
    process.wait(30)


@pytest.fixture
async def eddy(settings: Settings) -> AsyncIterator[Eddy]:
    async with Eddy(settings=settings, publish_decisions=True, seed=1) as eddy:
        yield eddy


def serve(eddy: Eddy, seen: Counter[str]) -> None:
    """Take one request as an agent would; one that crashes enters the block and never leaves it."""
    request = eddy.request("Sort a list", query_class="code")
    request.__enter__()
    arm = request.arm.id
    seen[arm] += 1
    if arm == "brittle" and seen[arm] % SURVIVES:
        return
    request.finish(outcome="success" if arm == "brittle" or seen[arm] % 5 < SUCCEEDS else "failure")
    request.__exit__(None, None, None)


async def routed(eddy: Eddy, seen: Counter[str], holds: Callable[[dict[str, ArmRouting]], bool]) -> dict[str, ArmRouting]:
    """Serve until the routes of the class are as they should be; returns its arms."""
    arms: dict[str, ArmRouting] = {}
    async with asyncio.timeout(WITHIN_S):
        async for update in eddy.router.updates():
            arms = {arm.id: arm for arm in update.arms}
            if update.query_class == "code" and sum(seen.values()) >= REQUESTS and holds(arms):
                break
    return arms


async def serve_on(eddy: Eddy, seen: Counter[str]) -> None:
    """Serve some hundred requests a second, for ever: time passes in a partition with its records alone."""
    while True:
        for _ in range(10):
            serve(eddy, seen)
        await asyncio.sleep(0.1)


@pytest.mark.usefixtures("worker")
async def test_arm_that_crashes_loses_its_share_only_where_silence_is_a_failure(eddy: Eddy, settings: Settings) -> None:
    """By what it answers the brittle arm is the best there is, and wins where silence says nothing; counted in full it solves one of five, and loses to three of five.

    The update says where the difference lies: its mean is 1 by its survivors alone, and about .2 with the others.
    """
    assert await eddy.router.ready(30)
    seen: Counter[str] = Counter()
    serving = asyncio.create_task(serve_on(eddy, seen))

    def has_settled(arms: dict[str, ArmRouting]) -> bool:
        loser = arms["brittle" if settings.silence == "failure" else "steady"]
        return loser.probability < 0.2 and arms["brittle"].rated_count >= 10

    arms = await routed(eddy, seen, has_settled)
    serving.cancel()

    brittle = arms["brittle"]
    assert brittle.mean is not None
    assert (brittle.mean < 0.4) == (settings.silence == "failure")
    assert (arms["steady"].probability > 0.8) == (settings.silence == "failure")
