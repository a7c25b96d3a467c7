"""The state of every partition of the log, durable.

Key:        (partition, end offset, id of one checkpoint, part), binary; nothing is ever overwritten
Value:      a part of a checkpoint, as `stream.fold.checkpoint` writes it
Changelog:  `eddy-FOLD-checkpoints-changelog`, copartitioned with `eddy.traces`, compacted
Written by: observe
Read by:    observe, at every assignment
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from stream.records import PartitionStatistics
from stream.topics import STATISTICS, TRACES
from stream.transport.probe import read_all
from stream.transport.recovery import RawTable
from stream.worker.checkpointer import Checkpointer
from stream.worker.decoding import decoded
from stream.worker.fatal import logger
from stream.worker.handled import handled_by
from stream.worker.holdings import Holdings
from stream.worker.rebuild import Placed, rebuild
from stream.worker.sending import acknowledged
from stream.worker.statistics import StatisticsPublisher

if TYPE_CHECKING:
    from stream.app import WorkerApp

NAME = "checkpoints"


class Checkpoints:
    """The held partitions, what makes them durable, and what they publish, from assignment to assignment.

    Args:
        app: the worker's.
        table: the Faust table that reads the changelog.
    """

    def __init__(self, app: WorkerApp, table: RawTable) -> None:
        self._app, self._table = app, table
        self.holdings = Holdings()
        self.checkpointer = Checkpointer(
            self.holdings,
            send=app.send_record,
            ownership=app.ownership,
            changelog=table.changelog,
            interval_s=app.settings.checkpoint_interval_s,
            every_records=app.settings.checkpoint_records,
        )
        self.statistics = StatisticsPublisher(self.holdings, send=app.send_record, ownership=app.ownership, fold=app.spec.id, is_active=lambda: app.active_fold.is_ours)
        app.active_fold.on_activation(self.statistics.activated)

    def durable_offset(self, topic: str, partition: int) -> int | None:
        """Physical offset up to which a source partition may be committed."""
        held = self.holdings.get(partition) if topic == TRACES.name else None
        return held.committable if held is not None else None

    def revoked(self) -> None:
        """Drop everything: whatever is assigned next is recovered from its changelog."""
        self.holdings.release()
        self.statistics.release()

    async def recovered(self, assigned: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Build the assigned partitions from what was read of the changelog; returns where to read on."""
        self.revoked()
        numbers = sorted(partition for topic, partition in assigned if topic == TRACES.name)
        placed = await rebuild(numbers, take=self._table.take, spec=self._app.spec, client_options=self._app.settings.client_options)
        handled = await self._handled_elsewhere(numbers)
        await self._retire_what_was_lost([place for place in placed if place.is_anew])
        for place in placed:
            place.held.handled_to = handled.get(place.held.number, 0)
            self.holdings.hold(place.held)
            self.statistics.took_over(place.held)
        return {(TRACES.name, place.held.number): place.read_from for place in placed}

    async def _handled_elsewhere(self, numbers: list[int]) -> Mapping[int, int]:
        """Up to where the active fold has sent dead letters and forwards, if it is another one than this worker's."""
        active = await self._app.active_fold.known() if numbers else None
        if active is None or active == self._app.spec.id:
            return {}
        handled = await handled_by(active, numbers, self._app.settings.client_options)
        logger.info("fold %s is the active one: what it has sent on of records below %s is not sent again", active, handled)
        return handled

    async def _retire_what_was_lost(self, placed: list[Placed]) -> None:
        """Take back totals of records that are gone with the old log: at their offsets, others will stand."""
        ends = {place.held.number: place.held.state.offset for place in placed}
        if not ends:
            return
        last: dict[bytes, PartitionStatistics | None] = {}
        async for record in read_all(self._app.settings.client_options, (STATISTICS.name, 0)):
            last[record.key] = decoded(record, PartitionStatistics, topic=STATISTICS.name) if record.value else None
        ours = ((key, said) for key, said in last.items() if said is not None and said.fold == self._app.spec.id)
        gone = [key for key, said in ours if said.offset > ends.get(said.partition, said.offset)]
        await acknowledged([await self._app.send_record(STATISTICS.name, 0, key, None) for key in gone])

    async def finish(self) -> None:
        """Make everything durable before the process ends."""
        await self.checkpointer.finish()


def register(app: WorkerApp) -> None:
    """Register the table, and what works on it."""
    table = app.tables.add(RawTable(app, name=NAME, partitions=app.settings.partitions, key_type=bytes, value_type=bytes))
    app.checkpoints = Checkpoints(app, table)
    app.owners.append(app.checkpoints)
    app.in_background(app.checkpoints.checkpointer.run, "starting checkpoints")
    app.in_background(app.checkpoints.statistics.run, "publishing statistics")
