"""The running total of every class in every partition, as the topic says them.

Key:        fold/partition/query class
Value:      `PartitionStatistics`, the total at one offset of its partition's log
Changelog:  `eddy.statistics` itself, read from its start at every assignment
Written by: observe; update_routing writes again what a zombie has overwritten, and retires what has aged out
Read by:    update_routing
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.records import PartitionStatistics
from stream.topics import DAY_MS

if TYPE_CHECKING:
    from stream.app import WorkerApp


class ClassStatistics:
    """The newest total of every key. Of one key the highest offset wins, whoever wrote it: all compute the same.

    Args:
        keep_ms: age, in log time, at which the last bucket of a total has been dropped.
    """

    def __init__(self, *, keep_ms: int) -> None:
        self._keep_ms = keep_ms
        self._newest: dict[str, PartitionStatistics] = {}
        self._log_time_ms = 0

    def __len__(self) -> int:
        return len(self._newest)

    def take(self, key: str, statistics: PartitionStatistics) -> PartitionStatistics | None:
        """Take what stands on the topic under a key.

        Returns:
            The newer total that it has overwritten, to be written again; None where it is the newest itself.
        """
        known = self._newest.get(key)
        if known is not None and known.offset > statistics.offset:
            return known
        self._newest[key] = statistics
        self._log_time_ms = max(self._log_time_ms, statistics.log_time_ms)
        return None

    def forget(self, key: str) -> None:
        """Take a tombstone: whatever is said under the key next is the newest."""
        self._newest.pop(key, None)

    def aged_out(self) -> list[str]:
        """Keys whose total nothing has been added to for so long that none of its buckets is kept."""
        return [key for key, statistics in self._newest.items() if statistics.log_time_ms < self._log_time_ms - self._keep_ms]


def register(app: WorkerApp) -> None:
    """Let the app make this table, empty, at every assignment; its changelog is a source topic, so Faust need not know it."""
    app.new_class_statistics = lambda: ClassStatistics(keep_ms=app.settings.keep_days * DAY_MS)
