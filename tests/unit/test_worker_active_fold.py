"""A worker names its own fold only when it has seen that no other is named."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition

from stream.errors import BrokerUnavailableError
from stream.topics import OVERRIDES
from stream.transport.probe import LogView
from stream.worker import active_fold
from stream.worker.active_fold import ActiveFold

PLACE = TopicPartition(OVERRIDES.name, 0)


class SilentConsumer:
    """Stands at offset 3 and never gets anything."""

    async def position(self, _: TopicPartition) -> int:
        return 3

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Any]]:
        return {}


async def unsent(*_: Any) -> Any:
    raise AssertionError("nothing is to be sent")


def fold_that_sees(monkeypatch: pytest.MonkeyPatch, record: object) -> ActiveFold:
    async def look(_: Any, offsets: dict[tuple[str, int], int]) -> dict[tuple[str, int], LogView]:
        return {place: LogView(start=0, end=5, record=record) for place in offsets}

    monkeypatch.setattr(active_fold, "look", look)
    return ActiveFold("ours", send=unsent, client_options={})


async def test_silence_before_the_end_is_not_the_end(monkeypatch: pytest.MonkeyPatch):
    """Naming its own fold then would take the place of one that is named behind: totals and routes of the wrong fold."""
    following = fold_that_sees(monkeypatch, record=object())

    with pytest.raises(BrokerUnavailableError, match="to offset 3 only, but it ends at 5") as raised:
        await following._read_to(SilentConsumer(), PLACE, 5)  # type: ignore[arg-type]

    assert raised.value.retriable


async def test_offsets_without_records_are_the_end(monkeypatch: pytest.MonkeyPatch):
    """The log itself says that there is nothing behind: markers and what compaction has removed take offsets."""
    await fold_that_sees(monkeypatch, record=None)._read_to(SilentConsumer(), PLACE, 5)  # type: ignore[arg-type]
