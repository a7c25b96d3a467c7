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
        self._agents: dict[str, dict[str, AgentConfig]] = {}
        self._read_into = self._agents
        settings = settings_of(bootstrap, settings)
        self._follower = Follower(settings, AGENT_CONFIGS.name, take=self.apply, begin_log=self._begin_log, caught_up=self._caught_up, fetch_wait_ms=fetch_wait_ms)

    def get(self, agent: str, version: int | str | None = None) -> AgentConfig | None:
        """Give an agent's configuration.

        Args:
            agent: its name.
            version: the one that a decision named (`arm.config_version`); None, or an empty one, is the newest on the topic.

        Returns:
            None where the agent has none, or not that version.
        """
        versions = self._agents.get(agent, {})
        if version is None or version == "":
            return next(reversed(versions.values()), None)
        return versions.get(str(version))

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take in a record of the topic; a tombstone withdraws the agent's configurations.

        Raises:
            msgspec.MsgspecError: it cannot be read; nothing has changed.
        """
        if value is None:
            self._read_into.pop((key or b"").decode(errors="replace"), None)
            return
        config = msgspec.json.decode(value, type=AgentConfig)
        versions = dict(self._read_into.get(config.agent, {}))
        versions.pop(str(config.version), None)
        versions[str(config.version)] = config
        self._read_into[config.agent] = dict(list(versions.items())[-VERSIONS_KEPT:])

    def _begin_log(self) -> None:
        self._read_into = {}

    def _caught_up(self) -> None:
        self._agents = self._read_into

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
