"""statistics, overrides -> [update-routing] -> routing; keeps routing_state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stream import metrics
from stream.routing.desk import RoutingDesk
from stream.routing.settings import RoutingSettings
from stream.topics import OVERRIDES, ROUTING, STATISTICS
from stream.transport.probe import look
from stream.worker.fatal import fatal_errors
from stream.worker.routing_term import TOPICS, RoutingTerm

if TYPE_CHECKING:
    from stream.app import WorkerApp
    from stream.records import PartitionStatistics


class RoutingOffice:
    """Begins and ends the terms in which this worker decides the routing."""

    def __init__(self, app: WorkerApp) -> None:
        self._app = app
        self.term: RoutingTerm | None = None

    def revoked(self) -> None:
        """End the term."""
        self.term = self._app.routing_term = None
        metrics.ROUTING_OWNER.set(0)

    async def recovered(self, assigned: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Begin a term where the topics are assigned here; returns where to read each: at its start."""
        self.revoked()
        places = [place for place in assigned if place[0] in TOPICS]
        if not places:
            return {}
        app, state = self._app, self._app.routing_ledger.recover()
        views = await look(app.settings.client_options, dict.fromkeys(places, 0))
        self.term = app.routing_term = RoutingTerm(
            RoutingDesk(settings=RoutingSettings.of(app.settings), fold=app.spec.id, state=state),
            statistics=app.new_class_statistics(),
            ledger=app.routing_ledger,
            send=app.send_record,
            ends={topic: view.end for (topic, _), view in views.items()},
            fold=app.spec.id,
            may_write=lambda: app.active_fold.is_ours and app.ownership.is_certain(STATISTICS.name, 0),
        )
        metrics.ROUTING_OWNER.set(1)
        return {place: view.start for place, view in views.items()}

    def said(self, statistics: PartitionStatistics, value: bytes) -> None:
        """Take a total of this worker's own before it comes back by the topic."""
        if self.term is not None:
            self.term.said(statistics, value)

    async def decide(self, now_s: float) -> None:
        """Publish what its own totals have moved."""
        if self.term is not None:
            await self.term.decide(now_s)

    async def run(self) -> None:
        """Publish what falls due with time, for ever."""
        while True:
            await asyncio.sleep(self._app.settings.routing_interval_s)
            if self.term is not None:
                await self.term.publish(time.monotonic())

    async def finish(self) -> None:
        """Keep the state before the process ends."""
        if self.term is not None:
            await self.term.finish()


def register(app: WorkerApp) -> None:
    """Register the agent."""
    office = RoutingOffice(app)
    app.owners.append(office)
    app.checkpoints.statistics.on_publish(office)
    app.in_background(office.run, "publishing routing updates")

    @app.agent(app.chunks_of(STATISTICS, OVERRIDES, ROUTING), name="update-routing", concurrency=1)
    async def update_routing(stream: Any) -> None:
        """Bring each chunk to the desk and publish what it decides."""
        async for event in stream.events():
            with fatal_errors(f"routing by {event.message.tp} up to {event.message.offset}", is_stopping=lambda: app.should_stop):
                if office.term is not None and app.is_current(event.message):
                    office.term.read(event.message.topic, event.value)
                    await office.term.publish(time.monotonic())
