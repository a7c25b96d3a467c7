"""Knows when the group last heard of this member.

Wraps `GroupCoordinator._do_heartbeat` of the consumer in use: a worker that was paused beyond its session may have been replaced
without knowing it yet, so nothing is written unless the last heartbeat is young. The time is taken before the heartbeat is sent:
the answer may have waited in a socket while the process stood still.
"""

from __future__ import annotations

import time

from faust.transport.drivers import aiokafka as driver


class Heartbeat:
    """The time of the last heartbeat that the group's coordinator has answered well."""

    def __init__(self) -> None:
        self._sent_s = float("-inf")

    def beat(self, sent_s: float) -> None:
        """Note that a heartbeat sent at `sent_s` (monotonic) was answered, or that the group has just taken this member in."""
        self._sent_s = max(self._sent_s, sent_s)

    def age_s(self) -> float:
        """Seconds since the last answered heartbeat was sent."""
        return time.monotonic() - self._sent_s


class ObservedHeartbeat(driver.AIOKafkaConsumerThread):
    """A consumer thread that notes every answered heartbeat."""

    async def on_start(self) -> None:
        """Start, then put the note around the coordinator's heartbeat."""
        await super().on_start()
        coordinator, heartbeat = self._consumer._coordinator, self.transport.heartbeat
        do_heartbeat = coordinator._do_heartbeat

        async def _do_heartbeat() -> bool:
            sent_s = time.monotonic()
            answered: bool = await do_heartbeat()
            if answered:
                heartbeat.beat(sent_s)
            return answered

        coordinator._do_heartbeat = _do_heartbeat
