"""The handle that a user meets: decide, call, publish, rate."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stream.client.connection import settings_of
from stream.client.outbox import OutboxStats
from stream.client.publisher import CLOSE_TIMEOUT_S, FeedbackPublisher, TracePublisher, outbox_of
from stream.client.request import Request
from stream.client.router import Router
from stream.records import Arm, Feedback, RaterKind

if TYPE_CHECKING:
    from stream.client.sync import SyncEddy
    from stream.settings import Settings

READY_TIMEOUT_S = 3.0
"""How long entering waits for the first snapshot of the routes; a service must also start while the broker is away."""


class Eddy:
    """The whole path of a request on one connection: `router`, `traces` and `ratings` are its parts.

    Nothing here raises into a request's path or waits for the broker: what cannot be delivered is counted (`stats`) and
    logged at most once a minute, and while the broker is away the last known routes serve. One handle serves a whole
    process; make it after forking.

    Args:
        bootstrap: the broker's address; outranks the settings.
        settings: else environment and `eddy.toml` are read.
        agent: name of the agent that makes the calls, for its traces; an arm that names one outranks it.
        tenant: whose requests these are, where a request does not say.
        publish_decisions: publish each decision at once as a record of its own, so that a crash is seen as silence.
        seed: makes the draws repeatable.
        ready_timeout_s: how long entering waits for the routes; then it goes on without.

    Raises:
        SettingsError: the settings cannot be used; only when it is made.

    Example:
        >>> async def main(call):
        ...     async with Eddy("localhost:9092") as eddy:
        ...         async with eddy.request("Sort a list in Python") as request:
        ...             answer = await call(request.arm.model)
        ...             request.finish(result=answer, total_tokens=812, cost_usd=0.0121, outcome="success")
        ...         await eddy.rate(request.trace_id, 1.0)
    """

    def __init__(
        self,
        bootstrap: str | None = None,
        *,
        settings: Settings | None = None,
        agent: str = "",
        tenant: str = "",
        publish_decisions: bool = False,
        seed: int | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        settings = settings_of(bootstrap, settings)
        self._outbox = outbox_of(settings)
        self._agent = agent
        self._tenant = tenant
        self._ready_timeout_s = ready_timeout_s
        self.traces = TracePublisher(settings=settings, outbox=self._outbox)
        self.ratings = FeedbackPublisher(settings=settings, outbox=self._outbox)
        self.router = Router(settings=settings, publish_decisions=publish_decisions, publisher=self.traces, seed=seed)

    @classmethod
    def sync(cls, bootstrap: str | None = None, **options: Any) -> SyncEddy:
        """Make the same handle for code without an event loop; same arguments."""
        from stream.client.sync import SyncEddy

        return SyncEddy(bootstrap, **options)

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
        """Open a request; its arm is chosen on entering the block, its trace published on leaving it.

        Args:
            query: the request's text.
            query_class: its class, where the caller knows it.
            session_id: requests that must stay with one arm.
            tenant: whose request it is; where tenants are kept apart, only what this one's traces have shown counts.
            candidates: arms, or their ids, that may serve it.
            trace_id: its id, else a new one.
            metadata: what else to keep.
        """
        whose = tenant or self._tenant
        template = {"query": query, "tenant": whose, "session_id": session_id or "", "metadata": metadata}
        if self._agent:
            template["agent"] = self._agent
        select = partial(self.router.select, query, query_class=query_class, session_id=session_id, candidates=candidates, trace_id=trace_id, tenant=whose)
        return Request(select, self.traces.publish, template)

    async def rate(
        self,
        trace_id: str,
        score: float,
        *,
        rater: str = "user",
        rater_kind: RaterKind = "human",
        comment: str | None = None,
        given_at: float | None = None,
    ) -> bool:
        """Rate a trace, from any process and at any time; the last word of each rater counts.

        Args:
            trace_id: the trace.
            score: quality in [0, 1].
            rater: who rates.
            rater_kind: `human`, `judge` (a model) or `program` (a test).
            comment: in words.
            given_at: epoch seconds; now, where not given.

        Returns:
            Whether it was taken. Leaving the block delivers it; `flush()` does so at once.
        """
        return self.ratings.publish(rating(trace_id, score, rater=rater, rater_kind=rater_kind, comment=comment, given_at=given_at))

    @property
    def stats(self) -> OutboxStats:
        """What became of the records so far."""
        return self._outbox.stats

    async def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until what was published is on the log; False when the time was not enough."""
        return await self._outbox.flush(timeout_s)

    async def start(self) -> None:
        """Begin to follow and to deliver, and wait a little for the routes."""
        await self._outbox.start()
        await self.router.start()
        if self._ready_timeout_s > 0:
            await self.router.ready(self._ready_timeout_s)

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Flush and end; what is not delivered in time is dropped and counted."""
        await self.router.close()
        return await self._outbox.close(timeout_s)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def rating(trace_id: str, score: float, *, rater: str, rater_kind: RaterKind, comment: str | None, given_at: float | None) -> Feedback:
    """Make a rating given now, or at the time given."""
    return Feedback(trace_id=trace_id, score=score, rater=rater, rater_kind=rater_kind, comment=comment, given_at=time.time() if given_at is None else given_at)
