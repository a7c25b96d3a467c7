"""Keeps the broker from holding an empty fetch for long.

Overrides `AIOKafkaConsumerThread._create_worker_consumer`, where 1.5 s are hard-coded. Tansu does not wake a long poll: it waits
about half of it, so that a record came 390 ms late at the median (6 ms with this setting). Kafka wakes at once, but there a long
poll of a changelog keeps the first fetch of a source waiting.
"""

from __future__ import annotations

from typing import Any

from faust.transport.drivers import aiokafka as driver

FETCH_WAIT_MS = 20


class ShortFetchWait(driver.AIOKafkaConsumerThread):
    """A consumer thread whose empty fetches come back soon."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer
