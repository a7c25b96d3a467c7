"""Sees whether the worker gets on, ends it when it is stuck, and keeps the gauges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from stream import metrics
from stream.errors import StuckError
from stream.fold.state import PartitionState
from stream.topics import TRACES
from stream.worker.holdings import HeldPartition, Holdings

TICK_S = 1.0
STUCK_S = 60.0
"""Without a record folded though there are some, or a checkpoint though there is something to write. The producer's time-out is 30 s."""
RECOVERING_S = 600.0
"""Longest recovery; 8 x 262,144 index rows take 4.5 s, and 24 s when they lie in many small parts."""


class Watchdog:
    """Looks every second.

    Args:
        app: the worker's.
        holdings: its partitions.
    """

    def __init__(self, app: Any, holdings: Holdings) -> None:
        self._app, self._holdings = app, holdings
        self._moved: dict[tuple[str, int], tuple[int, float]] = {}
        self._flowing_s = time.monotonic()
        self._gauged: set[str] = set()

    async def run(self) -> None:
        """Look, for ever.

        Raises:
            StuckError: nothing moves though something should.
        """
        while True:
            await asyncio.sleep(TICK_S)
            self._gauge()
            if stuck := self.what_is_stuck():
                raise StuckError(f"{stuck}, but a worker that works gets on; it is started again, and the log says what held it")

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
        return max(end - state.position, 0)

    def _gauge(self) -> None:
        held = {str(held.number): held.state for held in self._holdings}
        for number in self._gauged - held.keys():
            for gauge in (metrics.LAG, metrics.CLASSES, metrics.ARMS, metrics.INDEX_ENTRIES):
                gauge.remove(number)
        self._gauged = set(held)
        for number, state in held.items():
            self._gauge_one(number, state)

    def _gauge_one(self, number: str, state: PartitionState) -> None:
        metrics.LAG.labels(number).set(self._lag(state))
        metrics.CLASSES.labels(number).set(len(state.totals.classes))
        metrics.ARMS.labels(number).set(sum(map(len, state.totals.classes.values())))
        metrics.INDEX_ENTRIES.labels(number).set(len(state.index.slots))
        for name in state.counters.__struct_fields__:
            metrics.PARTITION_COUNTS.labels(number, name).set(getattr(state.counters, name))
