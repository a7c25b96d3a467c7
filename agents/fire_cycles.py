"""cycles -> [fire-cycles] -> cycles.

What is watched are the totals that update-routing has merged, in the same worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from stream.cycles.inbox import read_cycle_record
from stream.learning.triggers.thresholds import Thresholds, request
from stream.records import CycleRequested
from stream.topics import CYCLES
from stream.transport.probe import look
from stream.worker.fatal import fatal_errors, logger
from stream.worker.sending import die_if_refused

if TYPE_CHECKING:
    from stream.app import WorkerApp

LOOK_S = 1.0
"""Between two looks at the totals."""


class FiringOffice:
    """Asks for cycles where this worker decides the routing: there the totals of all partitions are merged.

    Attributes:
        asked: ids of the cycles that were asked for; None where `eddy.cycles` is not this worker's.
    """

    def __init__(self, app: WorkerApp) -> None:
        self._app, self._send, self._thresholds = app, app.send_record, Thresholds.of(app.settings)
        self._last_s, self._unread_to = 0.0, 0
        self.asked: set[str] | None = None

    def revoked(self) -> None:
        """Let go."""
        self.asked = None

    async def recovered(self, assigned: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Take `eddy.cycles` where it is assigned here; it is read from its start."""
        self.revoked()
        place = (CYCLES.name, 0)
        if place not in set(assigned):
            return {}
        view = (await look(self._app.settings.client_options, {place: 0}))[place]
        self.asked, self._last_s, self._unread_to = set(), 0.0, view.end
        return {place: view.start}

    async def finish(self) -> None:
        """Nothing is kept: what was asked for stands on the topic."""

    def read(self, records: Iterable[Any]) -> None:
        """Take what was asked for, by whomever."""
        for record in records:
            said = read_cycle_record(record.value)
            if self.asked is not None and isinstance(said, CycleRequested) and not said.agent:
                self.asked.add(said.cycle_id)
                self._last_s = max(self._last_s, said.requested_at)
            self._unread_to = 0 if record.offset + 1 >= self._unread_to else self._unread_to

    async def run(self) -> None:
        """Look at the totals, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.fire(time.monotonic())

    async def fire(self, now_s: float) -> None:
        """Ask for a cycle where a threshold is crossed, once."""
        term = self._app.routing_term
        if self.asked is None or self._unread_to or term is None or not term.is_ready(now_s):
            return
        log_time_s = term.desk.book.log_time_ms / 1000
        asked = request(term.desk.book.totals(), log_time_s=log_time_s, last_s=min(self._last_s, log_time_s), thresholds=self._thresholds)
        if asked is not None and asked.cycle_id not in self.asked:
            self.asked.add(asked.cycle_id)
            logger.info("a learning cycle is asked for: %s", asked.cycle_id)
            sent = await self._send(CYCLES.name, 0, asked.cycle_id.encode(), msgspec.json.encode(asked))
            sent.add_done_callback(die_if_refused)


def register(app: WorkerApp) -> None:
    """Register the agent."""
    office = FiringOffice(app)
    app.owners.append(office)
    if Thresholds.of(app.settings).are_set:
        app.in_background(office.run, "watching for learning cycles")

    @app.agent(app.chunks_of(CYCLES), name="fire-cycles", concurrency=1)
    async def fire_cycles(stream: Any) -> None:
        """Read what was asked for, so that it is asked for once."""
        async for event in stream.events():
            with fatal_errors(f"reading {event.message.tp} up to {event.message.offset}", is_stopping=lambda: app.should_stop):
                if app.is_current(event.message):
                    office.read(event.value)
