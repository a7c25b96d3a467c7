"""Follows, in every worker, which fold is the active one: only that one publishes totals and routes.

A worker's own consumer is assigned `eddy.overrides` or not as the group decides, so this reads it with a consumer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream import metrics
from stream.errors import BrokerUnavailableError
from stream.records import Override
from stream.topics import OVERRIDES
from stream.transport.probe import look, true_ends
from stream.worker.fatal import logger
from stream.worker.sending import Send

QUIET_READS = 10
"""Reads of half a second that bring nothing before the log is asked whether there is a record at all."""
KEY = Override(kind="active_fold").key.encode()
FETCH_WAIT_MS = 200
"""A switch of folds may take a moment; an idle poll is cheap at five a second."""


class ActiveFold:
    """Which fold is named active on `eddy.overrides`; the first worker ever names its own.

    Args:
        fold: id of this worker's fold.
        send: to the topic.
        client_options: how the broker is reached.
    """

    def __init__(self, fold: str, *, send: Send, client_options: Mapping[str, Any]) -> None:
        self._fold, self._send, self._client_options = fold, send, client_options
        self._named: str | None = None
        self._was_read = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_ours(self) -> bool:
        """Whether this worker's fold publishes."""
        return self._named == self._fold

    async def known(self) -> str | None:
        """Wait until the topic has been read to its end once; returns the fold named active now, None where none is yet."""
        await self._was_read.wait()
        return self._named

    def on_activation(self, listener: Callable[[], None]) -> None:
        """Have something called whenever this fold becomes the active one."""
        self._listeners.append(listener)

    async def follow(self) -> None:
        """Read `eddy.overrides` from its start, name the own fold if none is named, and follow.

        Raises:
            BrokerUnavailableError: the topic could not be read to its end, so that another fold may be named there.
        """
        consumer = AIOKafkaConsumer(**self._client_options, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=FETCH_WAIT_MS)
        await consumer.start()
        try:
            tp = TopicPartition(OVERRIDES.name, 0)
            consumer.assign([tp])
            consumer.seek(tp, 0)
            end = (await true_ends(self._client_options, [(tp.topic, tp.partition)]))[tp.topic, tp.partition]
            await self._read_to(consumer, tp, end)
            self._was_read.set()
            if self._named is None:
                await self._name_ours()
            while True:
                await self._read(consumer, timeout_ms=1_000)
        finally:
            await consumer.stop()

    async def _read_to(self, consumer: AIOKafkaConsumer, tp: TopicPartition, end: int) -> None:
        quiet = 0
        while (position := await consumer.position(tp)) < end:
            quiet = 0 if await self._read(consumer, timeout_ms=500) else quiet + 1
            if quiet == QUIET_READS:
                place = (tp.topic, tp.partition)
                if (await look(self._client_options, {place: position}))[place].record is None:
                    return  # offsets that hold no records
                raise BrokerUnavailableError(f"{tp.topic} could be read to offset {position} only, but it ends at {end} and another fold may be named there; start again")

    async def _read(self, consumer: AIOKafkaConsumer, *, timeout_ms: int) -> int:
        fetched = await consumer.getmany(timeout_ms=timeout_ms)
        records = [record for records in fetched.values() for record in records]
        for record in records:
            if record.key == KEY:
                self._take(record.value)
        return len(records)

    async def _name_ours(self) -> None:
        override = Override(kind="active_fold", fold=self._fold, reason="the first fold of this deployment")
        await asyncio.wait_for(await self._send(OVERRIDES.name, 0, KEY, msgspec.json.encode(override)), 30.0)

    def _take(self, value: bytes | None) -> None:
        was_ours = self.is_ours
        try:
            self._named = msgspec.json.decode(value, type=Override).fold if value is not None else None
        except msgspec.MsgspecError as exc:
            metrics.UNREADABLE.labels(OVERRIDES.name).inc()
            logger.warning("the active fold on %s cannot be read (%s), but it names one: it stays %s", OVERRIDES.name, exc, self._named)
        if self.is_ours and not was_ours:
            logger.info("fold %s is the active one: it publishes", self._fold)
            for listener in self._listeners:
                listener()
