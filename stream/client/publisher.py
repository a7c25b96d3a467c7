"""The publishers: they take records from a request path and see them to the log, without ever making it wait.

`publish` never blocks and never raises: what cannot be taken is dropped, counted by reason in `stats` and logged at most
once a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from stream.client.connection import Item, open_wire, settings_of
from stream.client.outbox import MAX_BYTES, MAX_RECORDS, Outbox, OutboxStats
from stream.client.payload import Encoder, TraceRecord
from stream.errors import MalformedRecordError
from stream.reading.query_class import classifier
from stream.records import Feedback
from stream.topics import TRACES

if TYPE_CHECKING:
    from stream.settings import Settings

R = TypeVar("R")

CLOSE_TIMEOUT_S = 10.0
"""How long leaving waits for what is not yet on the log."""


class _Publisher:
    """A buffer and what encodes for it, from start to close. The publishers differ in what they take, and share a base class for the rest."""

    def __init__(
        self,
        bootstrap: str | None = None,
        *,
        settings: Settings | None = None,
        outbox: Outbox | None = None,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        settings = settings_of(bootstrap, settings)
        self._encoder = encoder_of(settings)
        self._outbox = outbox or outbox_of(settings, max_records=max_records, max_bytes=max_bytes)

    @property
    def stats(self) -> OutboxStats:
        """What became of the records so far, those of publishers that share the buffer included."""
        return self._outbox.stats

    async def start(self) -> None:
        """Begin to deliver; does not wait for the broker."""
        await self._outbox.start()

    async def room(self) -> None:
        """Wait until half of the buffer is free; for bulk senders, which would rather wait than drop."""
        await self._outbox.room()

    async def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until what was published is on the log; False when the time was not enough."""
        return await self._outbox.flush(timeout_s)

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Flush and end; what is not delivered in time is dropped and counted."""
        return await self._outbox.close(timeout_s)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


class TracePublisher(_Publisher):
    """Publishes traces and decisions, keyed by trace id.

    Args:
        bootstrap: the broker's address; outranks the settings.
        settings: else environment and `eddy.toml` are read.
        outbox: a buffer to share with other publishers; else an own one.
        max_records: records that wait at most while the broker is away.
        max_bytes: their size at most.

    Raises:
        SettingsError: the settings cannot be used; only when it is made.

    Example:
        >>> async def main():
        ...     async with TracePublisher("localhost:9092") as publisher:
        ...         publisher.publish(Trace(trace_id="t1", query="2+2?", model="gpt-4", outcome="success"))
    """

    def publish(self, record: TraceRecord) -> bool:
        """Publish a trace, a decision or a request to forget, in the background; from any thread.

        Returns:
            Whether it was taken; False means dropped and counted.
        """
        return _offer(self._outbox, self._encoder.trace, record)


class FeedbackPublisher(_Publisher):
    """Publishes ratings, keyed by the trace they rate; arguments as `TracePublisher`.

    Example:
        >>> async def main():
        ...     async with FeedbackPublisher("localhost:9092") as publisher:
        ...         publisher.publish(Feedback(trace_id="t1", rater="ana", rater_kind="human", score=1.0, given_at=1.7e9))
    """

    def publish(self, feedback: Feedback) -> bool:
        """Publish a rating, in the background; from any thread.

        Returns:
            Whether it was taken; False means dropped and counted, as a score outside [0, 1] is.
        """
        return _offer(self._outbox, self._encoder.feedback, feedback)


def _offer(outbox: Outbox, encode: Callable[[R], Item], record: R) -> bool:
    try:
        return outbox.put(*encode(record))
    except MalformedRecordError as exc:
        outbox.drop(exc.reason, exc.detail)
    except Exception as exc:  # whatever it was handed, the caller's request goes on
        outbox.drop("malformed", repr(exc))
    return False


def encoder_of(settings: Settings) -> Encoder:
    """Make the encoder that a deployment's settings ask for."""
    return Encoder(query_text=settings.query_text, max_bytes=settings.max_record_bytes, classify=classifier(settings.classifier))


def outbox_of(settings: Settings, *, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> Outbox:
    """Make the buffer in front of the topic that all publishers write to."""
    return Outbox(partial(open_wire, settings, TRACES.name), max_records=max_records, max_bytes=max_bytes)
