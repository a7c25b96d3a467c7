"""Opens the source partitions only after the agents' queues have been emptied.

Overrides `Consumer.resume_partitions`, `pause_partitions` and `resume_flow`: Faust resumes the sources, then calls
`flow_control.resume`, which empties the queues; a chunk that was fetched in between was lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faust.transport.drivers import aiokafka as driver


class DeferredResume(driver.Consumer):
    """A consumer that keeps sources closed until the flow is resumed."""

    _deferred: frozenset[Any] = frozenset()

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Open changelogs now, sources with the flow."""
        opened = set(tps)
        self._deferred = frozenset(tp for tp in opened if tp.topic in self.transport.sources)
        super().resume_partitions(opened - self._deferred)

    def pause_partitions(self, tps: Iterable[Any]) -> None:
        """Close partitions; what was to be opened is not any more."""
        self._deferred = frozenset()
        super().pause_partitions(tps)

    def resume_flow(self) -> None:
        """Let records flow, and now the sources too."""
        super().resume_flow()
        deferred, self._deferred = self._deferred, frozenset()
        if deferred:
            super().resume_partitions(deferred)
