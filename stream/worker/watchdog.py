"""Sees whether the worker gets on, ends it when it is stuck, and keeps the gauges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from aiokafka.errors import KafkaError

from stream import metrics
from stream.errors import BrokerUnavailableError, StuckError
from stream.fold.state import PartitionState
from stream.topics import TRACES
from stream.transport.probe import LogView, look
from stream.worker.holdings import HeldPartition, Holdings

TICK_S = 1.0
STUCK_S = 60.0
"""Without a record folded though there are some, or a checkpoint though there is something to write. The producer's time-out is 30 s."""
LOOK_S = 15.0
"""Without a record folded before the log itself is asked whether it has one."""
RECOVERING_S = 600.0
"""Longest recovery; 8 x 262,144 index rows take 4.5 s, and 24 s when they lie in many small parts."""

Place: TypeAlias = tuple[str, int]
Look: TypeAlias = Callable[[Mapping[str, Any], Mapping[Place, int]], Awaitable[Mapping[Place, LogView]]]


class Watchdog:
    """Looks every second.

    Args:
        app: the worker's.
        holdings: its partitions.
        look: reads what a log has at an offset.
    """

    def __init__(self, app: Any, holdings: Holdings, *, look: Look = look) -> None:
        self._app, self._holdings, self._look = app, holdings, look
        self._moved: dict[tuple[str, int], tuple[int, float]] = {}
        self._flowing_s = time.monotonic()
        self._gauged: set[str] = set()
        self._empty: dict[int, tuple[int, int, int]] = {}

    async def run(self) -> None:
        """Look, for ever.

        Raises:
            StuckError: nothing moves though something should.
        """
        metrics.progressed()
        while True:
            await asyncio.sleep(TICK_S)
            self.gauge()
            await self.look_for_records()
            if stuck := self.what_is_stuck():
                raise StuckError(f"{stuck}, but a worker that works gets on; it is started again, and the log says what held it")

    async def look_for_records(self) -> None:
        """Ask the log of a partition that stands still short of its end whether there is a record: the markers of a producer's
        transactions take offsets, and so does nothing at all.
        """
        for held in self._holdings:
            state, place = held.state, (TRACES.name, held.number)
            _, moved_s = self._moved.get(("fold", held.number), (0, time.monotonic()))
            if self._lag(state) and time.monotonic() - moved_s > LOOK_S:
                with suppress(BrokerUnavailableError, KafkaError):
                    view = (await self._look(self._app.settings.client_options, {place: state.position}))[place]
                    if view.record is None:
                        self._empty[held.number] = state.base, state.offset, view.end

    def states(self) -> Mapping[int, Any]:
        """The canonical state of every partition held."""
        return {held.number: held.state.canonical() for held in self._holdings}

    def what_is_missing(self) -> str:
        """What keeps the worker from folding, empty when nothing does."""
        if self._app.should_stop:
            return "stopping"
        if self._app.rebalancing or not self._app.tables.actives_ready:
            return "joining the group or recovering"
        return ""

    def what_is_stuck(self) -> str:
        """What has not moved for too long, empty when nothing."""
        now_s = time.monotonic()
        if self.what_is_missing():
            return f"no partition has been recovered for {RECOVERING_S:g} s" if now_s - self._flowing_s > RECOVERING_S else ""
        self._flowing_s = now_s
        stuck = [said for held in self._holdings for said in self._stuck(held, now_s)]
        return "; ".join(stuck)

    def _stuck(self, held: HeldPartition, now_s: float) -> list[str]:
        said, lag = [], self._lag(held.state)
        if self._still_s(("fold", held.number), held.state.offset, now_s, should_move=lag > 0) > STUCK_S:
            said.append(f"partition {held.number} has not moved from offset {held.state.offset} for {STUCK_S:g} s, with {lag} records to fold")
        if self._still_s(("checkpoint", held.number), held.changelog.durable, now_s, should_move=held.is_dirty) > STUCK_S:
            said.append(f"partition {held.number} has been durable to offset {held.changelog.durable} only for {STUCK_S:g} s")
        return said

    def _still_s(self, what: tuple[str, int], value: int, now_s: float, *, should_move: bool) -> float:
        """Seconds for which a value has stood still though it should move."""
        seen, at_s = self._moved.get(what, (value - 1, now_s))
        if seen != value or not should_move:
            self._moved[what] = value, now_s
            return 0.0
        return now_s - at_s

    def _lag(self, state: PartitionState) -> int:
        end: int = self._app.high_watermark(TRACES.name, state.number)
        base, offset, empty_to = self._empty.get(state.number, (0, -1, 0))
        known_empty = (base, offset) == (state.base, state.offset)
        return max(end - max(state.position, empty_to if known_empty else 0), 0)

    def gauge(self) -> None:
        """Set the gauges of what is held."""
        held = {str(held.number): held.state for held in self._holdings}
        for number in self._gauged - held.keys():
            for gauge in (metrics.LAG, metrics.CLASSES, metrics.ARMS, metrics.INDEX_ENTRIES):
                gauge.remove(number)
        self._gauged = set(held)
        for number, state in held.items():
            self._gauge_one(number, state)
        if not self.what_is_missing() and not any(map(self._lag, held.values())):
            metrics.progressed()

    def _gauge_one(self, number: str, state: PartitionState) -> None:
        metrics.LAG.labels(number).set(self._lag(state))
        metrics.CLASSES.labels(number).set(len(state.totals.classes))
        metrics.ARMS.labels(number).set(sum(map(len, state.totals.classes.values())))
        metrics.INDEX_ENTRIES.labels(number).set(len(state.index))
        for name in state.counters.__struct_fields__:
            metrics.PARTITION_COUNTS.labels(number, name).set(getattr(state.counters, name))
