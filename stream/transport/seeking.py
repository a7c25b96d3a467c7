"""Leaves the source partitions where the recovered state has put them.

Overrides `Consumer.perform_seek`, which seeks to the group's committed offsets; these are for lag monitors and never decide.
"""

from __future__ import annotations

from faust.transport.drivers import aiokafka as driver


class StateSeeking(driver.Consumer):
    """A consumer that does not seek by itself."""

    async def perform_seek(self) -> None:
        """Forget what an earlier assignment has committed, so that the next durable offset is committed whatever it is."""
        for tp in self.assignment():
            if tp.topic in self.transport.sources:
                self._committed_offset[tp] = None
