"""cycles -> [fire-cycles] -> cycles.

What is watched are the totals that update-routing has merged, in the same worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from stream.cycles.inbox import read_cycle_record
from stream.learning.triggers.thresholds import Asked, Rules, prepare, requests
from stream.learning.triggers.watching import Watch
from stream.records import CycleRequested
from stream.topics import CYCLES
from stream.transport.probe import look
from stream.worker.fatal import fatal_errors, logger
from stream.worker.sending import die_if_refused

if TYPE_CHECKING:
    from stream.app import WorkerApp

LOOK_S = 1.0
"""Between two looks at the totals, at the least."""
PAUSE = 20.0
"""So many times as long as a look takes the pause after it is: of a processor a twentieth at most."""


class FiringOffice:
    """Asks for cycles where this worker decides the routing: there the totals of all partitions are merged.

    Attributes:
        asked: ids of the cycles that were asked for; None where `eddy.cycles` is not this worker's.
    """

    def __init__(self, app: WorkerApp) -> None:
        self._app, self._send, self._rules = app, app.send_record, Rules.of(app.settings)
        self._watch, self._last, self._unread_to = Watch(min_quality=app.settings.min_quality), Asked(), 0
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
        self.asked, self._last, self._unread_to = set(), Asked(), view.end
        return {place: view.start}

    async def finish(self) -> None:
        """Nothing is kept: what was asked for stands on the topic."""

    def read(self, records: Iterable[Any]) -> None:
        """Take what was asked for, by whomever."""
        for record in records:
            said = read_cycle_record(record.value)
            if self.asked is not None and isinstance(said, CycleRequested):
                self.asked.add(said.cycle_id)
                self._last.note(said.agent, said.requested_at, said.evidence)
            self._unread_to = 0 if record.offset + 1 >= self._unread_to else self._unread_to

    async def run(self) -> None:
        """Look at the totals, for ever."""
        took_s = 0.0
        while True:
            await asyncio.sleep(max(LOOK_S, PAUSE * took_s))
            began_s = time.monotonic()
            await self.fire(began_s)
            took_s = time.monotonic() - began_s

    async def fire(self, now_s: float) -> None:
        """Ask for each cycle whose threshold is crossed, once."""
        term, known = self._app.routing_term, self.asked
        if known is None or self._unread_to or term is None or not term.is_ready(now_s):
            return
        log_time_s = term.desk.book.log_time_ms / 1000
        for _ in chain(self._watch.follow(term.desk.book.newest()), prepare(self._watch, self._rules, log_time_s=log_time_s)):
            await asyncio.sleep(0)  # whoever decides the routing has the same loop
        if self.asked is not known:
            return  # the topic was revoked meanwhile
        for asked in requests(self._watch, self._rules, self._last, log_time_s=log_time_s):
            if asked.cycle_id not in known:
                known.add(asked.cycle_id)
                logger.info("a learning cycle is asked for: %s", asked.cycle_id)
                sent = await self._send(CYCLES.name, 0, asked.cycle_id.encode(), msgspec.json.encode(asked))
                sent.add_done_callback(die_if_refused)


def register(app: WorkerApp) -> None:
    """Register the agent."""
    office = FiringOffice(app)
    app.owners.append(office)
    if Rules.of(app.settings).are_set:
        app.in_background(office.run, "watching for learning cycles")

    @app.agent(app.chunks_of(CYCLES), name="fire-cycles", concurrency=1)
    async def fire_cycles(stream: Any) -> None:
        """Read what was asked for, so that it is asked for once."""
        async for event in stream.events():
            with fatal_errors(f"reading {event.message.tp} up to {event.message.offset}", is_stopping=lambda: app.should_stop):
                if app.is_current(event.message):
                    office.read(event.value)
