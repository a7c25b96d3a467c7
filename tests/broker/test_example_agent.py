"""The example agent on a broker: what is promoted changes what it does, and a rollback restores it, without a restart."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from stream.client import AgentConfigs, Eddy
from stream.learning import AgentConfigEvolver
from stream.provision import provision
from stream.records import AgentConfig
from stream.settings import Settings
from stream.topics import AGENT_CONFIGS
from tests.broker.client_tools import until, values_of
from tests.broker.learner_tools import producing
from tests.conftest import Broker

EXAMPLE = Path(__file__).parents[2] / "examples" / "toy_agent.py"


class NoTraces:
    """A store that has nothing."""

    def list_traces(self, **_: Any) -> list[Any]:
        return []


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy_agent", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def announce(settings: Settings, version: int, toml: str) -> None:
    async with producing(settings) as producer:
        await producer.send_and_wait(AGENT_CONFIGS.name, msgspec.json.encode(AgentConfig(agent="toy", version=version, toml=toml)), key=b"toy")


async def test_promotion_changes_what_the_agent_does_and_a_rollback_restores_it(fresh_broker: Broker, make_settings: Callable[..., Settings]) -> None:
    """Version 1 has no tool, version 2 may add: 2 + 3 is 5 as long as version 2 is live; `eddy configs rollback toy 1` makes version 3 of version 1."""
    settings, toy = make_settings(fresh_broker.bootstrap), example()
    await provision(settings)
    evolver = AgentConfigEvolver(NoTraces(), config_dir=settings.data_dir / "agent_configs")
    first = evolver.write_config("toy", tools=[], system_prompt="I have no tools.").read_text()
    second = evolver.write_config("toy", tools=["add"]).read_text()

    async with Eddy(settings=settings) as eddy, AgentConfigs(settings=settings) as configs:

        async def becomes(wanted: str) -> bool:
            return bool(await toy.serve(eddy, configs, "What is 2 + 3?") == wanted)

        await announce(settings, 1, first)
        await until(lambda: configs.get("toy") is not None)
        assert await becomes("I have no tools.")

        await announce(settings, 2, second)
        await until(lambda: configs.get("toy").version == 2)  # type: ignore[union-attr]
        assert await becomes("5")
        assert configs.get("toy", "1") is not None  # a decision of a moment ago may still name it

        rolled = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "stream", "configs", "rollback", "toy", "1"],
            env={"PATH": "/usr/bin:/bin", "EDDY_BOOTSTRAP": settings.bootstrap, "EDDY_DATA_DIR": str(settings.data_dir), "EDDY_PARTITIONS": str(settings.partitions)},
            capture_output=True,
            check=False,
        )
        assert rolled.returncode == 0, rolled.stderr.decode()
        await until(lambda: configs.get("toy").version > 2)  # type: ignore[union-attr]
        assert await becomes("I have no tools.")

        await eddy.flush()
    traces = await values_of(settings)
    assert sorted(trace["result"] for trace in traces if trace.get("type", "trace") == "trace") == ["5", "I have no tools.", "I have no tools."]
