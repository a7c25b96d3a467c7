"""The agents' configurations as they stand on `eddy.agent-configs`, followed live."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from stream.client.connection import settings_of
from stream.client.follower import FETCH_WAIT_MS, Follower
from stream.records import AgentConfig
from stream.topics import AGENT_CONFIGS

if TYPE_CHECKING:
    from stream.settings import Settings

VERSIONS_KEPT = 16
"""Versions remembered of each agent: those that a decision of the last minutes may still name."""


class _Known:
    """Configurations by agent, and by the name that arms have for each: its version, or its trial. What is read is replaced, never changed."""

    def __init__(self) -> None:
        self.live: dict[str, dict[str, AgentConfig]] = {}
        self.trials: dict[str, dict[str, AgentConfig]] = {}

    def put(self, config: AgentConfig) -> None:
        """Take one as the newest."""
        kept, name = (self.trials, config.trial) if config.trial else (self.live, str(config.version))
        others = {each: known for each, known in kept.get(config.agent, {}).items() if each != name}
        kept[config.agent] = dict([*others.items(), (name, config)][-VERSIONS_KEPT:])

    def drop(self, key: str) -> None:
        """Take away what stands under a record's key."""
        agent, _, trial = key.partition("|")
        if not trial:
            self.live.pop(agent, None)
        elif trial in (trials := self.trials.get(agent, {})):
            self.trials[agent] = {name: config for name, config in trials.items() if name != trial}


class AgentConfigs:
    """What each agent should run with. While the broker is away the last known configurations serve.

    Args:
        bootstrap: the broker's address; outranks the settings.
        settings: else environment and `eddy.toml` are read.
        fetch_wait_ms: longest wait of a fetch at the broker.

    Raises:
        SettingsError: the settings cannot be used; only when it is made.
    """

    def __init__(self, bootstrap: str | None = None, *, settings: Settings | None = None, fetch_wait_ms: int = FETCH_WAIT_MS) -> None:
        self._known = self._read_into = _Known()
        settings = settings_of(bootstrap, settings)
        self._follower = Follower(settings, AGENT_CONFIGS.name, take=self.apply, begin_log=self._begin_log, caught_up=self._caught_up, fetch_wait_ms=fetch_wait_ms)

    def get(self, agent: str, version: int | str | None = None) -> AgentConfig | None:
        """Give an agent's configuration.

        Args:
            agent: its name.
            version: the one that a decision named (`arm.config_version`); None, or an empty one, is the newest that is live.

        Returns:
            None where the agent has none, or not that version: one that was on trial is gone once its trial is over.
        """
        versions, trials = self._known.live.get(agent, {}), self._known.trials.get(agent, {})
        if version is None or version == "":
            return next(reversed(versions.values()), None)
        return versions.get(str(version)) or trials.get(str(version))

    def shadow(self, agent: str) -> AgentConfig | None:
        """Give the newest configuration of an agent that is on trial, for a caller who wants to run it beside the live one.

        Its answer goes to nobody. What came of it is published as a trace of its own, without a decision, whose `config_version` is the
        configuration's `trial`: that keeps it apart from what served.

        Returns:
            None where no configuration of the agent is on trial.
        """
        return next(reversed(self._known.trials.get(agent, {}).values()), None)

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take in a record of the topic; a tombstone withdraws the agent's configurations, or ends one's trial.

        Raises:
            msgspec.MsgspecError: it cannot be read; nothing has changed.
        """
        if value is None:
            self._read_into.drop((key or b"").decode(errors="replace"))
        else:
            self._read_into.put(msgspec.json.decode(value, type=AgentConfig))

    def _begin_log(self) -> None:
        self._read_into = _Known()

    def _caught_up(self) -> None:
        self._known = self._read_into

    async def ready(self, timeout_s: float = 10.0) -> bool:
        """Wait until the topic was once read to its end; False when the time was not enough."""
        return await self._follower.ready(timeout_s)

    async def start(self) -> None:
        """Begin to follow; does not wait for the broker."""
        await self._follower.start()

    async def close(self) -> None:
        """End it; what is known stays usable."""
        await self._follower.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
