"""The clients for code without an event loop: the same shapes, with a loop in a background thread.

Choosing and publishing run on the caller's thread, as they never wait; only starting, flushing and closing go to the loop.
Make them after forking: a thread does not survive it.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from stream.client.eddy import Eddy, rating
from stream.client.outbox import OutboxStats
from stream.client.payload import TraceRecord
from stream.client.publisher import CLOSE_TIMEOUT_S, FeedbackPublisher, TracePublisher
from stream.client.request import Request
from stream.client.router import Router
from stream.records import Arm, Decision, Feedback, RaterKind

T = TypeVar("T")

GRACE_S = 10.0
"""What the loop may take beyond a call's own time-out, before the caller stops waiting."""


class Client(Protocol):
    """What can be run in the background."""

    async def start(self) -> None:
        """Begin."""

    async def close(self) -> Any:
        """End."""


class Sender(Client, Protocol):
    """What publishes."""

    @property
    def stats(self) -> OutboxStats:
        """What became of the records so far."""

    async def flush(self, timeout_s: float = ...) -> bool:
        """Wait until what was published is on the log."""


class Background:
    """An event loop in a thread of its own, and one client on it; closed at exit at the latest.

    Args:
        client: what runs on it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread and the client."""
        if self._loop is not None:
            return
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="eddy client", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        self.run(self._client.start(), timeout_s=GRACE_S)

    def run(self, work: Coroutine[Any, Any, T], *, timeout_s: float) -> T | None:
        """Run something on the loop and wait for it.

        Returns:
            None where there is no loop, or it took too long.
        """
        if self._loop is None:
            work.close()
            return None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s + GRACE_S)
        except TimeoutError:
            future.cancel()
            return None

    def close(self) -> None:
        """End the client, then the thread."""
        if self._loop is None or self._thread is None:
            return
        atexit.unregister(self.close)
        self.run(self._client.close(), timeout_s=CLOSE_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GRACE_S)
        if not self._thread.is_alive():
            self._loop.close()
        self._loop = self._thread = None


class _Sync:
    """A client in the background, from start to close. The four clients differ in what is called on them, and share a base class for the rest."""

    def __init__(self, client: Client) -> None:
        self._background = Background(client)

    def start(self) -> None:
        """Begin, in the background; does not wait for the broker."""
        self._background.start()

    def close(self) -> None:
        """End it, after what was published is on the log or the time for that is over; a router's last snapshot stays usable."""
        self._background.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _SyncSender(_Sync):
    """One that publishes."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(sender)
        self._sender = sender

    @property
    def stats(self) -> OutboxStats:
        """What became of the records so far."""
        return self._sender.stats

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until what was published is on the log; False when the time was not enough."""
        return bool(self._background.run(self._sender.flush(timeout_s), timeout_s=timeout_s))


class SyncEddy(_SyncSender):
    """`stream.client.Eddy` for code without an event loop; same arguments.

    Example:
        >>> def main(call):
        ...     with SyncEddy("localhost:9092") as eddy:
        ...         with eddy.request("Sort a list in Python") as request:
        ...             answer = call(request.arm.model)
        ...             request.finish(result=answer, outcome="success")
        ...         eddy.rate(request.trace_id, 1.0)
    """

    def __init__(self, bootstrap: str | None = None, **options: Any) -> None:
        self._eddy = Eddy(bootstrap, **options)
        super().__init__(self._eddy)

    def request(
        self,
        query: str,
        query_class: str | None = None,
        session_id: str | None = None,
        tenant: str = "",
        candidates: Iterable[str | Arm] | None = None,
        *,
        trace_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Request:
        """Open a request, as `Eddy.request` does; use it with a plain `with`."""
        return self._eddy.request(query, query_class, session_id, tenant, candidates, trace_id=trace_id, metadata=metadata)

    def rate(
        self,
        trace_id: str,
        score: float,
        *,
        rater: str = "user",
        rater_kind: RaterKind = "human",
        comment: str | None = None,
        given_at: float | None = None,
    ) -> bool:
        """Rate a trace, as `Eddy.rate` does."""
        return self._eddy.ratings.publish(rating(trace_id, score, rater=rater, rater_kind=rater_kind, comment=comment, given_at=given_at))

    @property
    def router(self) -> Router:
        """The router; `select` may be called from any thread."""
        return self._eddy.router


class SyncRouter(_Sync):
    """`stream.client.Router` for code without an event loop; same arguments."""

    def __init__(self, bootstrap: str | None = None, **options: Any) -> None:
        self._router = Router(bootstrap, **options)
        super().__init__(self._router)

    def select(
        self,
        query: str,
        *,
        query_class: str | None = None,
        session_id: str | None = None,
        candidates: Iterable[str | Arm] | None = None,
        trace_id: str | None = None,
        tenant: str = "",
    ) -> Decision:
        """Choose the arm for a request, as `Router.select` does; on the caller's thread."""
        return self._router.select(query, query_class=query_class, session_id=session_id, candidates=candidates, trace_id=trace_id, tenant=tenant)

    def ready(self, timeout_s: float = 10.0) -> bool:
        """Wait until the topic was once read to its end; False when the time was not enough."""
        return bool(self._background.run(self._router.ready(timeout_s), timeout_s=timeout_s))


class SyncTracePublisher(_SyncSender):
    """`stream.client.TracePublisher` for code without an event loop; same arguments."""

    def __init__(self, bootstrap: str | None = None, **options: Any) -> None:
        self._publisher = TracePublisher(bootstrap, **options)
        super().__init__(self._publisher)

    def publish(self, record: TraceRecord) -> bool:
        """Publish a trace, a decision or a request to forget; never waits, never raises."""
        return self._publisher.publish(record)


class SyncFeedbackPublisher(_SyncSender):
    """`stream.client.FeedbackPublisher` for code without an event loop; same arguments."""

    def __init__(self, bootstrap: str | None = None, **options: Any) -> None:
        self._publisher = FeedbackPublisher(bootstrap, **options)
        super().__init__(self._publisher)

    def publish(self, feedback: Feedback) -> bool:
        """Publish a rating; never waits, never raises."""
        return self._publisher.publish(feedback)
