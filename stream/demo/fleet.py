"""A fleet of simulated services: each decides, calls, publishes and rates over real clients, as a user's own would.

Some of what they send is what makes counting hard: copies of traces, ratings that come late, ratings that are revised.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream.client import Eddy
from stream.records import Trace

if TYPE_CHECKING:
    from stream.client import Request
    from stream.demo.world import World
    from stream.settings import Settings

SERVICES = 4
"""Each has a client of its own, as so many processes would."""
CALL_S = (0.004, 0.04)
"""How long a simulated call takes; the latency that its trace reports is the world's."""
LATE_SHARE = 0.3
"""Requests whose quality nobody knows when they end; a person rates them later."""
LATE_S = 1.5
"""Mean time until such a rating."""
REVISED_SHARE = 0.1
"""Late ratings whose rater first says something else."""
COPY_SHARE = 0.05
"""Traces that are published once more, from another service."""
ROUTES_WAIT_S = 20.0


@dataclass(slots=True)
class Tally:
    """What the fleet has seen so far; rewards are the true ones, whatever was rated."""

    requests: int = 0
    drawn: int = 0
    reward: float = 0.0
    uniform: float = 0.0
    copies: int = 0
    ratings: int = 0
    trace_ids: set[str] = field(default_factory=set)

    @property
    def mean_reward(self) -> float:
        """Mean true reward of the arms that were chosen."""
        return self.reward / max(1, self.requests)

    @property
    def mean_uniform(self) -> float:
        """Mean true reward that uniform choice would have had in expectation, on the same queries."""
        return self.uniform / max(1, self.requests)


class Fleet:
    """The services, from `async with` on.

    Args:
        settings: how the broker is reached.
        world: what is asked and what it earns.
        seed: of the queries, the draws and the trouble.
    """

    def __init__(self, settings: Settings, world: World, *, seed: int) -> None:
        self.tally = Tally()
        self._world = world
        self._random = random.Random(seed)
        self._services = [Eddy(settings=settings, seed=seed + number) for number in range(SERVICES)]
        self._pending: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def __aenter__(self) -> Fleet:
        await asyncio.gather(*(service.start() for service in self._services))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(service.close() for service in self._services))

    async def routes_known(self) -> bool:
        """Wait until every service draws from published probabilities; False when they stay away."""
        deadline_s = time.monotonic() + ROUTES_WAIT_S
        while time.monotonic() < deadline_s:
            if all(service.router.select("", query_class=self._world.queries[0].query_class).kind == "drawn" for service in self._services):
                return True
            await asyncio.sleep(0.1)
        return False

    def stop(self) -> None:
        """Let no more requests begin."""
        self._stopped = True

    async def serve(self, *, seconds: float | None, rate_per_s: float) -> None:
        """Send requests at random moments, for so long or until `stop`; then wait for the calls and ratings under way."""
        due_s = time.monotonic()
        end_s = math.inf if seconds is None else due_s + seconds
        while not self._stopped and (due_s := due_s + self._random.expovariate(rate_per_s)) < end_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._spawn()
        await asyncio.gather(*self._pending)
        await asyncio.gather(*(service.flush() for service in self._services))

    @property
    def dropped(self) -> int:
        """Records that clients took and could not deliver."""
        return sum(sum(service.stats.dropped.values()) for service in self._services)

    def _spawn(self) -> None:
        task = asyncio.create_task(self._request(self._random.choice(self._services), self._random.randrange(len(self._world.queries))))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _request(self, service: Eddy, number: int) -> None:
        query, late = self._world.queries[number], self._random.random() < LATE_SHARE
        async with service.request(query.text, query.query_class) as request:
            reward, served = self._world.reward(number, request.arm), self._world.served(number, request.arm)
            await asyncio.sleep(self._random.uniform(*CALL_S))
            outcome = None if late else "success" if reward >= 1 else "failure"
            request.finish(result="SELECT …", outcome=outcome, total_tokens=served.tokens, cost_usd=served.cost_usd, total_latency_seconds=served.latency_s)
        self._count(request, reward, self._world.uniform(number))
        if self._random.random() < COPY_SHARE:
            self._publish_copy(request, query.text, outcome)
        if late:
            await self._rate_later(request.trace_id, reward)

    def _count(self, request: Request, reward: float, uniform: float) -> None:
        self.tally.requests += 1
        self.tally.drawn += request.decision.kind == "drawn"
        self.tally.reward += reward
        self.tally.uniform += uniform
        self.tally.trace_ids.add(request.trace_id)

    def _publish_copy(self, request: Request, query: str, outcome: str | None) -> None:
        copy = Trace(trace_id=request.trace_id, query=query, query_class=request.query_class, model=request.arm.model, agent=request.arm.agent, outcome=outcome)
        self._random.choice(self._services).traces.publish(copy)
        self.tally.copies += 1

    async def _rate_later(self, trace_id: str, reward: float) -> None:
        rater = self._random.choice(self._services)
        await asyncio.sleep(min(3 * LATE_S, self._random.expovariate(1 / LATE_S)))
        if self._random.random() < REVISED_SHARE:
            await rater.rate(trace_id, 1.0 - reward)
            self.tally.ratings += 1
            await asyncio.sleep(0.05)
        await rater.rate(trace_id, reward)
        self.tally.ratings += 1
