"""traces -> [observe] -> statistics, dead letters, forwards; writes checkpoints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from stream import metrics
from stream.fold.fold import fold
from stream.reading.query_class import classifier
from stream.topics import TRACES
from stream.worker.continuity import Continuity
from stream.worker.effects import Effects
from stream.worker.fatal import fatal_errors

if TYPE_CHECKING:
    from stream.app import WorkerApp


def register(app: WorkerApp) -> None:
    """Register the agent."""
    settings, holdings, statistics = app.settings, app.checkpoints.holdings, app.checkpoints.statistics
    classify = classifier(settings.classifier)
    continuity = Continuity(settings.client_options)
    effects = Effects(app.send_record, max_record_bytes=settings.max_record_bytes)

    @app.agent(app.chunks_of(TRACES), name="observe", concurrency=1)
    async def observe(stream: Any) -> None:
        """Fold each chunk into the state of its partition; what cannot be folded goes elsewhere, what changed is published."""
        async for event in stream.events():
            with fatal_errors(f"folding {event.message.tp} up to {event.message.offset}", is_stopping=lambda: app.should_stop):
                held = holdings.get(event.message.partition)
                if held is None or not app.is_current(event.message):
                    metrics.STALE_CHUNKS.inc()
                    continue
                records = event.value
                await continuity.check(held.state, records)
                with metrics.FOLD_SECONDS.time():
                    outcomes = fold(held.state, records, classify)
                held.folded += len(records)
                metrics.folded(len(records))
                await effects.publish(held, outcomes, records)
                statistics.changed(held)
                await statistics.publish(time.monotonic())
