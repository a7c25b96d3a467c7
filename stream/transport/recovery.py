"""Keeps what stands in a changelog as raw records, by partition, until their owner takes them.

Overrides `Store.apply_changelog_batch`: the stock memory store decodes every record, holds all partitions in one dict and lets the
last write win; checkpoints are immutable parts of which the owner finds the newest complete set itself. `on_recovery_completed` and
the handling of revoked partitions go with it: Faust would read a kept partition's changelog only from where the last recovery ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import faust
from faust.stores.memory import Store as MemoryStore


class RawStore(MemoryStore):
    """The last value of every key of every changelog partition read, undecoded.

    Faust hands a record of a partition that is no longer assigned to whichever table came before it, so records are
    kept by topic and partition.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts: defaultdict[tuple[str, int], dict[bytes, bytes]] = defaultdict(dict)

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Take records as they are; a tombstone removes its key."""
        for event in batch:
            message = event.message
            parts = self.parts[message.topic, message.partition]
            if message.value is None:
                parts.pop(message.key, None)
            else:
                parts[message.key] = message.value

    async def on_recovery_completed(self, active_tps: Any, standby_tps: Any) -> None:
        """Do nothing: the owner has taken what it wants before this is called."""


class RawTable(faust.Table):
    """A table that is only its changelog: the owner builds its state from the raw records and writes them itself."""

    def _new_store(self) -> RawStore:
        return RawStore("memory://", self.app, self)

    def take(self, partition: int) -> dict[bytes, bytes]:
        """Hand over what was read of a changelog partition, keeping nothing."""
        return self.data.parts.pop((self.changelog, partition), {})  # type: ignore[no-any-return]

    @property
    def changelog(self) -> str:
        """Name of the changelog topic."""
        return self._changelog_topic_name()  # type: ignore[no-any-return]

    def forget(self) -> None:
        """Drop what was read: after a rebalance everything is read again."""
        self.data.parts.clear()


def read_again(app: Any) -> None:
    """Make the next recovery read every changelog from its start, kept partitions too."""
    app.tables.recovery.active_offsets.clear()
    for table in app.tables.values():
        table.forget()
