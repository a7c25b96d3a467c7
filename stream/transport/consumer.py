"""The transport that Eddy's worker runs on: Faust's Kafka driver with every override of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver

from stream.frames import receive_by_frame
from stream.record_batches import read_by_batch
from stream.transport.chunks import ChunkedFetch, ChunkingThread
from stream.transport.commits import DurableCommits
from stream.transport.drain import DirectDrain
from stream.transport.fetch_wait import ShortFetchWait
from stream.transport.heartbeat import Heartbeat, ObservedHeartbeat
from stream.transport.idle import PromptWait
from stream.transport.log_bounds import TrueLogBounds
from stream.transport.one_loop import OneLoop
from stream.transport.resuming import DeferredResume
from stream.transport.seeking import StateSeeking


class EddyConsumerThread(OneLoop, TrueLogBounds, ShortFetchWait, ChunkingThread, ObservedHeartbeat):
    """What talks to the broker: to Faust a thread, here a part of the worker's own loop."""


class EddyConsumer(ChunkedFetch, DirectDrain, PromptWait, DurableCommits, StateSeeking, DeferredResume):
    """The consumer that agents and tables see."""

    def _new_consumer_thread(self) -> EddyConsumerThread:
        return EddyConsumerThread(self, loop=self.loop, beacon=self.beacon)


class EddyTransport(driver.Transport):
    """Faust's transport, knowing what Eddy adds.

    Attributes:
        sources: topics whose events are chunks.
        client_options: how a consumer of its own reaches the broker.
        durable_offset: physical offset up to which a source partition may be committed, None for not at all.
        heartbeat: when the group last heard of this worker.
    """

    Consumer = EddyConsumer

    sources: frozenset[str]
    client_options: Mapping[str, Any]
    durable_offset: Callable[[Any], int | None]
    heartbeat: Heartbeat


def install(app: Any, *, sources: frozenset[str], client_options: Mapping[str, Any]) -> EddyTransport:
    """Give an app this transport; nothing may have asked it for its own before."""
    read_by_batch()
    receive_by_frame()
    transport = EddyTransport(app.conf.broker_consumer, app)
    transport.sources, transport.client_options = sources, client_options
    transport.durable_offset, transport.heartbeat = lambda _: None, Heartbeat()
    app.transport = transport
    return transport
