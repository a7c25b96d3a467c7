"""The router: chooses an arm for a request from a live snapshot of `eddy.routing`, in microseconds and without the network."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Collection, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from stream.client import rollout
from stream.client.connection import settings_of
from stream.client.follower import FETCH_WAIT_MS, Follower
from stream.client.publisher import TracePublisher
from stream.client.refining import refined
from stream.client.sessions import MAX_SESSIONS, Sessions
from stream.client.snapshot import Snapshot
from stream.client.table import Draw, Lottery, RoutingTable
from stream.reading.query_class import classifier
from stream.records import ANY_CLASS, Arm, Decision, RoutingUpdate, class_of_tenant, is_trial
from stream.routing.settings import project
from stream.topics import ROUTING

if TYPE_CHECKING:
    from stream.settings import Settings

WATCHED_UPDATES = 1_000
"""Updates that wait for a watcher who is slow; beyond them the oldest are dropped."""
UNREADABLE_CLASS = "general"
"""Class of a query that the classifier cannot read."""
NO_ARM = Arm()


class Asked(NamedTuple):
    """A request, as far as the choice depends on it."""

    query: str
    query_class: str
    allowed: tuple[str, ...] | None
    """Ids of the arms that may serve it; None: all."""


class Router:
    """Follows `eddy.routing` and draws from it.

    While the broker is away it serves its last snapshot. `select` may be called from any thread.

    Args:
        bootstrap: the broker's address; outranks the settings.
        settings: else environment and `eddy.toml` are read.
        publish_decisions: publish each decision as a record of its own, so that a crash is seen as silence; what that counts as
            is the deployment's setting `EDDY_SILENCE`. Every request that is selected for must then publish its trace.
        publisher: what decisions are published with; else an own one.
        seed: makes the draws repeatable.
        max_sessions: sessions remembered.
        fetch_wait_ms: longest wait of a fetch at the broker.

    Raises:
        SettingsError: the settings cannot be used; only when it is made.

    Example:
        >>> async def main():
        ...     async with Router("localhost:9092") as router:
        ...         await router.ready()
        ...         return router.select("Sort a list in Python").arm.model
    """

    def __init__(
        self,
        bootstrap: str | None = None,
        *,
        settings: Settings | None = None,
        publish_decisions: bool = False,
        publisher: TracePublisher | None = None,
        seed: int | None = None,
        max_sessions: int = MAX_SESSIONS,
        fetch_wait_ms: int = FETCH_WAIT_MS,
    ) -> None:
        settings = settings_of(bootstrap, settings)
        self.snapshot = Snapshot()
        self._classify = classifier(settings.classifier)
        self._known = known_arms(settings)
        self._rollout = settings.rollout
        self._apart = settings.keeps_tenants_apart
        self._random = random.Random(seed).random
        self._sessions = Sessions(max_sessions)
        self._watchers: set[asyncio.Queue[RoutingUpdate]] = set()
        self._read_into = self.snapshot
        self._follower = Follower(settings, ROUTING.name, take=self._take, begin_log=self._begin_log, caught_up=self._caught_up, fetch_wait_ms=fetch_wait_ms)
        self._own_publisher = TracePublisher(settings=settings) if publish_decisions and publisher is None else None
        self._publisher = (publisher or self._own_publisher) if publish_decisions else None

    # ---- choosing

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
        """Choose the arm for a request; never raises, never waits.

        The decision's kind says how:
        - `drawn`: from the probabilities of the query's class, else from the pooled ones; renormalised over the candidates,
          and so is its propensity.
        - `sticky`: the session's arm; a session whose arm was withdrawn or is no candidate draws again.
        - `pinned`: an operator's.
        - `fallback`: there is nothing to draw from, or the deployment only observes. The default arm, else the first declared, else the first candidate; an
          empty arm where none of these is known or all are withdrawn.

        Args:
            query: the request's text; read to classify it and, where the policy is contextual, for what it tells of the arms.
            query_class: its class, where the caller knows it.
            session_id: requests that must stay with one arm.
            candidates: arms, or their ids, that may serve this request; None for all.
            trace_id: the request's id, else a new one.
            tenant: whose request it is; where tenants are kept apart, only what this one's traces have shown counts.

        Returns:
            The decision; only a drawn one has a propensity.
        """
        if not isinstance(query_class, str):
            query_class = self._class_of(query)
        session_id, tenant = None if session_id is None else str(session_id), str(tenant)
        decision = self._decide(trace_id or os.urandom(16).hex(), Asked(query, query_class, _ids_of(candidates)), session_id, tenant)
        if tenant:
            decision = msgspec.structs.replace(decision, tenant=tenant)
        if self._publisher is not None:
            self._publisher.publish(decision)
        return decision

    def _decide(self, trace_id: str, asked: Asked, session_id: str | None, tenant: str) -> Decision:
        query_class, allowed = asked.query_class, asked.allowed
        if self._apart:
            table = self.snapshot.table(class_of_tenant(tenant, query_class), class_of_tenant(tenant, ANY_CLASS))
            session_id = session_id and class_of_tenant(tenant, session_id)
        else:
            table = self.snapshot.table(query_class)
        if not session_id:
            return self._fresh(trace_id, asked, table, None)
        with self._sessions.lock:
            arm = self._sessions.get(session_id)
            if arm is not None and self._share(table) > 0 and self._may_stay(arm, table, allowed):
                return Decision(trace_id=trace_id, kind="sticky", query_class=query_class, arm=arm, policy_version=table.policy_version if table else "")
            decision = self._fresh(trace_id, asked, table, session_id)
            if decision.arm != NO_ARM:
                self._sessions.put(session_id, decision.arm)
            return decision

    def _fresh(self, trace_id: str, asked: Asked, table: RoutingTable | None, session_id: str | None) -> Decision:
        query_class, allowed = asked.query_class, asked.allowed
        if table is None:
            return Decision(trace_id=trace_id, kind="fallback", query_class=query_class, arm=self._fallback(table, allowed))
        version = table.policy_version
        if table.pinned is not None and (allowed is None or table.pinned.id in allowed):
            return Decision(trace_id=trace_id, kind="pinned", query_class=query_class, arm=table.pinned, policy_version=version)
        share = self._share(table)
        draw = None if table.pinned is not None else self._draw(table, asked, session_id, share)
        if draw is None or share == 0:
            arm, would_be = self._fallback(table, allowed), draw.arm if draw else None
            return Decision(trace_id=trace_id, kind="fallback", query_class=query_class, arm=arm, policy_version=version, would_be=would_be)
        return Decision(trace_id=trace_id, kind="drawn", query_class=query_class, arm=draw.arm, propensity=draw.propensity, policy_version=version, candidates=draw.candidates)

    def _draw(self, table: RoutingTable, asked: Asked, session_id: str | None, share: float) -> Draw | None:
        lottery = self._lottery(table, asked)
        if share in (0.0, 1.0):
            return lottery.draw(self._random())
        is_in = rollout.is_in(share, session_id, self._random())
        return rollout.draw(lottery, self._random(), share=share, is_in=is_in, rest=self._fallback(table, asked.allowed))

    def _lottery(self, table: RoutingTable, asked: Asked) -> Lottery:
        lottery = table.lottery(asked.allowed)
        try:
            return refined(table, lottery, self.snapshot.model, asked.query)
        except Exception:  # a query of another type: the table alone
            return lottery

    def _share(self, table: RoutingTable | None) -> float:
        """Share of the requests that follow what was learned: this process's own setting, or the operator's word where that is less."""
        word = table.update.rollout if table is not None else None
        return self._rollout if word is None else min(self._rollout, word)

    def _fallback(self, table: RoutingTable | None, allowed: tuple[str, ...] | None) -> Arm:
        for arm_id, arm in self._known.items():
            if (allowed is None or arm_id in allowed) and not self._is_withdrawn(arm_id, table):
                return arm
        return next((parse_arm(arm_id) for arm_id in allowed or () if not self._is_withdrawn(arm_id, table)), NO_ARM)

    def _may_stay(self, arm: Arm, table: RoutingTable | None, allowed: Collection[str] | None) -> bool:
        is_over = is_trial(arm.config_version) and (table is None or arm.id not in table.canaries)
        return (allowed is None or arm.id in allowed) and not is_over and not self._is_withdrawn(arm.id, table)

    def _is_withdrawn(self, arm_id: str, table: RoutingTable | None) -> bool:
        return (table is not None and arm_id in table.withdrawn) or self.snapshot.is_withdrawn(arm_id)

    def _class_of(self, query: str) -> str:
        try:
            return self._classify(query)
        except Exception:  # a query of another type, or a user's classifier: the request goes on
            return UNREADABLE_CLASS

    # ---- following

    @property
    def is_ready(self) -> bool:
        """Whether the topic was once read to its end."""
        return self._follower.is_ready

    async def ready(self, timeout_s: float = 10.0) -> bool:
        """Wait until the topic was once read to its end; False when the time was not enough."""
        return await self._follower.ready(timeout_s)

    async def updates(self) -> AsyncIterator[RoutingUpdate]:
        """Yield each update as it becomes the one that is drawn from, from now on."""
        queue: asyncio.Queue[RoutingUpdate] = asyncio.Queue(WATCHED_UPDATES)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    def _take(self, key: bytes | None, value: bytes | None) -> None:
        if (update := self._read_into.apply(key, value)) is not None and self._read_into is self.snapshot:
            self._tell(update)

    def _begin_log(self) -> None:
        """Read the new log aside: its earlier records must not replace what is served now, its last ones will."""
        self._read_into = Snapshot()

    def _caught_up(self) -> None:
        if self._read_into is not self.snapshot:
            for update in self.snapshot.adopt(self._read_into):
                self._tell(update)
            self._read_into = self.snapshot

    def _tell(self, update: RoutingUpdate) -> None:
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(update)

    async def start(self) -> None:
        """Begin to follow; does not wait for the broker."""
        await self._follower.start()
        if self._own_publisher is not None:
            await self._own_publisher.start()

    async def close(self) -> None:
        """End it; the last snapshot stays usable."""
        await self._follower.close()
        if self._own_publisher is not None:
            await self._own_publisher.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def _ids_of(candidates: object) -> tuple[str, ...] | None:
    """The candidates' ids; one that stands alone is the only one, what is no arm is none, and what is no collection names nothing: then all may serve."""
    if isinstance(candidates, (str, Arm)):
        return (candidates,) if isinstance(candidates, str) else (candidates.id,)
    if not isinstance(candidates, Iterable):
        return None
    return tuple(arm if isinstance(arm, str) else arm.id for arm in candidates if isinstance(arm, (str, Arm)))


def parse_arm(arm_id: str) -> Arm:
    """Read an arm's id; one with too many fields is taken for a model's name."""
    try:
        return Arm.parse(arm_id)
    except ValueError:
        return Arm(model=arm_id)


def known_arms(settings: Settings) -> dict[str, Arm]:
    """Give the arms that a deployment declares, by the fields that are routed over, in the order in which they serve where nothing is known."""
    named = [settings.default_arm, *(arm.id for arm in settings.arms)]
    arms = [project(parse_arm(arm_id), settings.arm_fields) for arm_id in named if arm_id]
    return {arm.id: arm for arm in arms if arm != NO_ARM}
