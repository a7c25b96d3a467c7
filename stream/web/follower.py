"""Follows what the loop publishes, in the process that serves the page, and keeps what the page shows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stream.cycles.history import History
from stream.errors import EddyError
from stream.overview import TOPICS, Overview
from stream.topic_reader import TopicReader, reading
from stream.topics import CYCLES, DEAD_LETTERS

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from stream.settings import Settings

log = logging.getLogger(__name__)

SAMPLE_S = 2.0
"""Time between two samples of the count of traces."""
SAMPLES = 90
"""Samples kept: three minutes of traffic, what the page's line shows."""
RATE_SAMPLES = 5
"""Samples that the shown rate looks back over: ten seconds, so that it neither jumps nor lags."""
RETRY_S = 2.0
CYCLES_SHOWN = 5
"""Learning cycles, the newest."""
MOST_REASONS = 64
"""Reasons told apart: the worker has a dozen, but anyone may write to the topic."""


class DeadLetterCounts:
    """How many dead letters there are, by reason; a partition whose offsets begin again is a new log, counted anew."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._reasons: dict[int, Counter[str]] = {}

    def take(self, partition: int, offset: int, reason: str) -> None:
        """Count one."""
        if offset <= self._last.get(partition, -1):
            self._reasons.pop(partition, None)
        counts = self._reasons.setdefault(partition, Counter())
        counts[reason if reason in counts or len(counts) < MOST_REASONS else "other"] += 1
        self._last[partition] = offset

    def by_reason(self) -> Counter[str]:
        """Add up the partitions."""
        return sum(self._reasons.values(), Counter[str]())


class Follower:
    """What the page shows, always the newest.

    Args:
        settings: how the broker is reached and which fields of an arm are routed over.
        archive_rows: asked at each `state()`.
    """

    def __init__(self, settings: Settings, *, archive_rows: Callable[[], int | None] = lambda: None) -> None:
        self._settings = settings
        self._archive_rows = archive_rows
        self._overview = Overview(settings.arm_fields, rollout=settings.rollout)
        self._dead_letters, self._history = DeadLetterCounts(), History()
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._answered_s: float | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Begin to follow."""
        self._tasks = (asyncio.create_task(self._follow()), asyncio.create_task(self._sample()))

    async def stop(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def state(self) -> dict[str, Any]:
        """Say what the page shows, ready for JSON; untrusted text in it is as it came."""
        reasons = self._dead_letters.by_reason()
        return {
            "overview": self._overview.report(),
            "traces_per_s": self._rate(),
            "rate_history": rates(list(self._samples)),
            "dead_letters": {"total": reasons.total(), "reasons": dict(reasons)},
            "cycles": [told.report() for told in self._history.newest(CYCLES_SHOWN)],
            "archive_rows": self._archive_rows(),
            "bootstrap": self._settings.bootstrap,
            "broker_silent_s": None if self._answered_s is None else max(0.0, time.monotonic() - self._answered_s),
        }

    def _rate(self) -> float:
        recent = list(self._samples)[-RATE_SAMPLES - 1 :]
        return rates([recent[0], recent[-1]])[0] if len(recent) > 1 else 0.0

    async def _follow(self) -> None:
        while True:
            try:
                async with reading(self._settings, *TOPICS, CYCLES.name, DEAD_LETTERS.name) as reader:
                    await self._take_all(reader)
            except (EddyError, OSError) as exc:
                log.info("the page's follower waits for the broker: %s", exc)
            except Exception:
                log.exception("the page's follower starts again")
            await asyncio.sleep(RETRY_S)

    async def _take_all(self, reader: TopicReader) -> None:
        self._overview = Overview(self._settings.arm_fields, rollout=self._settings.rollout)
        self._dead_letters, self._history = DeadLetterCounts(), History()
        async for records in reader.follow():
            for record in records:
                self.take(record)
            if (age_s := reader.silent_s()) is not None:
                self._answered_s = time.monotonic() - age_s

    def take(self, record: ConsumerRecord[bytes | None, bytes | None]) -> None:
        """Take one record of a followed topic."""
        if record.topic == DEAD_LETTERS.name:
            reason = dict(record.headers).get("eddy-reason", b"unknown").decode(errors="replace")
            self._dead_letters.take(record.partition, record.offset, reason[:60])
        elif record.topic == CYCLES.name:
            self._history.take(record.value)
        else:
            self._overview.take(record.topic, record.key, record.value)

    async def _sample(self) -> None:
        while True:
            self._samples.append((time.monotonic(), self._overview.trace_count))
            await asyncio.sleep(SAMPLE_S)


def rates(samples: list[tuple[float, int]]) -> list[float]:
    """Turn (second, count) samples into rates between neighbours; a count that falls is a new log and counts as none.

    Example:
        >>> rates([(0.0, 0), (2.0, 10), (4.0, 5)])
        [5.0, 0.0]
    """
    return [max(0.0, (after - before) / (end_s - start_s)) for (start_s, before), (end_s, after) in pairwise(samples)]
