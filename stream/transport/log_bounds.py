"""Finds where a log really starts and ends.

Overrides `AIOKafkaConsumerThread._highwaters` and `earliest_offsets`. Tansu 0.6 answers ListOffsets(latest) with the first offset of
the last batch plus one, so that Faust's recovery stopped before the last batch and lost state at every restart. Where two producers
wrote a partition's first batches at once, it may answer ListOffsets(earliest) with the start of the second, though it has both and
gives them to whoever fetches at 0. Fetches tell the truth. On Kafka both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faust.transport.drivers import aiokafka as driver

from stream.transport.probe import true_ends, true_starts


class TrueLogBounds(driver.AIOKafkaConsumerThread):
    """A consumer thread whose log starts and high watermarks come from fetches."""

    async def earliest_offsets(self, *partitions: Any) -> Mapping[Any, int]:
        """Return the first offset that the broker keeps of each partition."""
        starts = await true_starts(self.transport.client_options, [(tp.topic, tp.partition) for tp in partitions])
        return {tp: starts[tp.topic, tp.partition] for tp in partitions}

    async def _highwaters(self, partitions: Sequence[Any]) -> Mapping[Any, int]:
        ends = await true_ends(self.transport.client_options, [(tp.topic, tp.partition) for tp in partitions])
        return {tp: ends[tp.topic, tp.partition] for tp in partitions}
