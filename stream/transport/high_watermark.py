"""Finds the true end of a log.

Overrides `AIOKafkaConsumerThread._highwaters`: Tansu 0.6 answers ListOffsets(latest) with the first offset of the last batch plus
one, so that Faust's recovery stopped before the last batch and lost state at every restart. A fetch tells the true one. On Kafka
both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faust.transport.drivers import aiokafka as driver

from stream.transport.probe import true_ends


class TrueHighWatermarks(driver.AIOKafkaConsumerThread):
    """A consumer thread whose high watermarks come from fetches."""

    async def _highwaters(self, partitions: Sequence[Any]) -> Mapping[Any, int]:
        ends = await true_ends(self.transport.client_options, [(tp.topic, tp.partition) for tp in partitions])
        return {tp: ends[tp.topic, tp.partition] for tp in partitions}
