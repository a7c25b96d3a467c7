"""Learning cycles through a learner and a broker: asked for, done step by step in a process of their own, announced, and what persons say of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from benchmarks.cycle import rows
from stream.cycles.history import History
from stream.cycles.plan import Plan
from stream.learning.evolving import live
from stream.provision import provision
from stream.reading.partitioning import partition_of
from stream.records import CycleOrder, CycleRequested, Override
from stream.settings import Settings
from stream.topics import AGENT_CONFIGS, CYCLES, OVERRIDES, TRACES
from tests.broker.learner_tools import count, learning, producing, read_back, until
from tests.conftest import Broker

pytestmark = pytest.mark.slow

TRACES_MADE = 1_500
AGENT = "researcher"
BY_HAND = '# written by hand\n[agent]\nname = "researcher"\ntools = ["browser"]  # until now\nsystem_prompt = "Answer."\n'
STEPS = ["mined", "checked", "measured", "routed", "configured", "trained", "evaluated", "settled"]
JOINED_S = 6.0
"""After which members that came together have joined their group, on the embedded broker too."""
LAG_S = 0.25
"""Of the learner's event loop, at most: mining alone would block it for longer."""


def favours_change(folder: Path) -> dict[str, float]:
    """Evaluate: hand-written tools solve one sample in three, any others all."""
    text = (folder / f"{AGENT}.toml").read_text()
    return {f"s{number}": float("browser" not in text or number % 3 == 0) for number in range(300)}


def never_ends(folder: Path) -> float:
    """Evaluate for ever."""
    time.sleep(600)
    return 0.0


@pytest.fixture
async def settings(fresh_broker: Broker, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment with traces in its log, and one configuration that a person wrote."""
    monkeypatch.chdir(Path(__file__).parents[2])
    made = make_settings(fresh_broker.bootstrap, evaluator="tests.broker.test_cycles:favours_change")
    await provision(made)
    async with producing(made) as producer:
        for row in rows(0, TRACES_MADE):
            await producer.send(TRACES.name, row.value, key=row.key, partition=partition_of(row.key, made.partitions))
        await producer.flush()
    Plan.of(made).config_dir.mkdir(parents=True)
    (Plan.of(made).config_dir / f"{AGENT}.toml").write_text(BY_HAND)
    return made


@asynccontextmanager
async def learner(settings: Settings) -> AsyncIterator[None]:
    """A learner that has archived and indexed all traces."""
    async with learning(settings, mirror=False):
        await until(lambda: count(settings) == TRACES_MADE)
        await asyncio.sleep(1.5)
        yield


async def say(settings: Settings, topic: str, key: str, record: msgspec.Struct | None) -> None:
    async with producing(settings) as producer:
        await producer.send_and_wait(topic, None if record is None else msgspec.json.encode(record), key=key.encode())


async def ask(settings: Settings, cycle_id: str, **fields: Any) -> None:
    await say(settings, CYCLES.name, cycle_id, CycleRequested(cycle_id=cycle_id, trigger="test", requested_at=time.time(), **fields))


async def told(settings: Settings, cycle_id: str, holds: Callable[[Any], bool], *, within_s: float = 60.0) -> Any:
    """Wait until what is told of a cycle is as it should be."""
    deadline_s = time.monotonic() + within_s
    while True:
        history = History()
        for _, _, _, value in await read_back(settings, CYCLES.name, 0):
            history.take(value)
        cycle = history.cycle(cycle_id)
        if cycle is not None and holds(cycle):
            return cycle
        assert time.monotonic() < deadline_s, cycle and cycle.report()
        await asyncio.sleep(0.2)


def live_text(settings: Settings) -> str | None:
    return live.read(Plan.of(settings).config_dir, AGENT)


async def lag(worst: list[float]) -> None:
    while True:
        began_s = time.monotonic()
        await asyncio.sleep(0.01)
        worst[0] = max(worst[0], time.monotonic() - began_s - 0.01)


async def announced(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(value) for _, _, key, value in await read_back(settings, AGENT_CONFIGS.name, 0) if key == AGENT.encode() and value]


async def test_cycle_is_done_step_by_step_and_blocks_no_loop(settings: Settings) -> None:
    """Asked for twice it is done once; each step is told, in order; what is live is what is announced; the learner's loop goes on meanwhile."""
    async with learner(settings):
        worst = [0.0]
        watching = asyncio.create_task(lag(worst))
        await ask(settings, "c1")
        await ask(settings, "c1")
        cycle = await told(settings, "c1", lambda cycle: cycle.status)
        watching.cancel()
        await until(lambda: "browser" not in (live_text(settings) or ""))
        configs = await announced(settings)
        address = json.loads((settings.data_dir / "learner.json").read_text())
        async with aiohttp.ClientSession() as session, session.get(f"http://{address['host']}:{address['port']}/metrics") as answer:
            metrics = await answer.text()

    assert (cycle.status, [step["step"] for step in cycle.steps if step["number"]]) == ("completed", STEPS)
    assert cycle.candidates[f"config/{AGENT}"]["standing"] == "promoted"
    assert "Proven better" in cycle.candidates[f"config/{AGENT}"]["why"]
    assert [(config["agent"], config["toml"]) for config in configs] == [(AGENT, live_text(settings))]
    assert "# written by hand" in (live_text(settings) or "")
    assert worst[0] < LAG_S
    assert 'eddy_cycles_total{status="completed"} 1.0' in metrics
    assert all(f'eddy_cycle_steps_total{{step="{step}"}} 1.0' in metrics for step in STEPS)


async def test_nothing_is_promoted_without_an_evaluator_until_a_person_says_so(settings: Settings) -> None:
    """The service stages, and says why it promotes nothing; `approve` promotes."""
    settings = settings.model_copy(update={"evaluator": ""})
    async with learner(settings):
        await ask(settings, "c1", agent=AGENT)
        cycle = await told(settings, "c1", lambda cycle: cycle.status)
        assert cycle.status == "staged"
        assert cycle.candidates[f"config/{AGENT}"]["standing"] == "held"
        assert "EDDY_EVALUATOR" in cycle.candidates[f"config/{AGENT}"]["why"]
        assert live_text(settings) == BY_HAND

        await say(settings, CYCLES.name, "c1", CycleOrder(cycle_id="c1", order="approve", given_at=time.time()))
        cycle = await told(settings, "c1", lambda cycle: cycle.candidates[f"config/{AGENT}"]["standing"] == "promoted")

        assert "browser" not in (live_text(settings) or "")
        assert cycle.status == "staged"
        await asyncio.sleep(0.5)
        assert len(await announced(settings)) == 1


async def test_freeze_holds_promotions_back(settings: Settings) -> None:
    """What its gate let through waits until a person approves it."""
    await say(settings, OVERRIDES.name, "freeze/*", Override(kind="freeze", reason="release week"))
    async with learner(settings):
        await ask(settings, "c1", agent=AGENT)
        cycle = await told(settings, "c1", lambda cycle: cycle.status)

    assert cycle.status == "staged"
    assert cycle.candidates[f"config/{AGENT}"]["verdict"] == "promote"
    assert "release week" in cycle.candidates[f"config/{AGENT}"]["why"]
    assert live_text(settings) == BY_HAND


async def test_cancelled_cycle_ends_at_once_and_leaves_nothing(settings: Settings) -> None:
    """Its evaluation would never end; the process that does it is killed."""
    settings = settings.model_copy(update={"evaluator": "tests.broker.test_cycles:never_ends"})
    async with learner(settings):
        await ask(settings, "c1")
        await told(settings, "c1", lambda cycle: cycle.state == "checked")
        began_s = time.monotonic()
        await say(settings, CYCLES.name, "c1", CycleOrder(cycle_id="c1", order="cancel", given_at=time.time()))
        cycle = await told(settings, "c1", lambda cycle: cycle.status)

    assert cycle.status == "cancelled"
    assert time.monotonic() - began_s < 15.0
    assert live_text(settings) == BY_HAND
    assert not any((Plan.of(settings).data_dir / "cycles").glob("*"))


async def test_learner_that_ends_in_the_middle_of_a_cycle_goes_on_with_it(settings: Settings) -> None:
    """The cycle's process ends with it; the next learner does the rest, from the last step noted."""
    stuck = settings.model_copy(update={"evaluator": "tests.broker.test_cycles:never_ends"})
    async with learner(stuck):
        await ask(stuck, "c1", agent=AGENT)
        await told(stuck, "c1", lambda cycle: cycle.state == "checked")
    async with learner(settings):
        cycle = await told(settings, "c1", lambda cycle: cycle.status)

    assert (cycle.status, [step["step"] for step in cycle.steps if step["number"]]) == ("completed", STEPS)


async def test_of_two_learners_one_has_the_cycles(settings: Settings, tmp_path: Path) -> None:
    """Each has a data folder, and so a ledger, of its own: the group gives the topic to one, and the other does nothing of it.

    Which of them it is shows on the topic alone: there one learner tells of the cycle, and it ends once. Where the topic moves after all while
    the cycle runs, as it may on a slow machine, that end is an abort.
    """
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    async with learner(settings), learner(other):
        await asyncio.sleep(JOINED_S)
        await ask(settings, "c1")
        said: list[dict[str, Any]] = []
        for _ in range(60):
            said = [json.loads(value) for _, _, _, value in await read_back(settings, CYCLES.name, 0)]
            if any(record["type"] == "finished" for record in said):
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(2.0)
        said = [json.loads(value) for _, _, _, value in await read_back(settings, CYCLES.name, 0)]

    assert [record["status"] for record in said if record["type"] == "finished"] in (["completed"], ["aborted"])
    assert len({record["learner"] for record in said if record["type"] == "step"}) == 1
