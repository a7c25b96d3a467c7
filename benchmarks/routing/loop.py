"""One set through the whole loop: a broker, a worker, and a client that decides, publishes and rates, one request after another."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from benchmarks.broker import ground
from benchmarks.contest import new_worker
from benchmarks.processes import say
from benchmarks.routing.sets import SETS
from stream.client import Eddy

NAME = "intercode_sql"
PAUSE_S = 0.03
"""Between two requests: a little more than the least time between two publications of one class."""
ROUTES_S = 30.0


async def end_to_end(data: Path, folder: Path, *, broker: str, seed: int = 0, requests: int | None = None) -> dict[str, float | int]:
    """Serve every query of the set once, in a seed's order, each rated when it is done.

    Args:
        data: of the recorded outcomes.
        folder: for logs and data.
        broker: `kafka` or `embedded`.
        seed: of the order and of the draws.
        requests: so many at most.

    Returns:
        Mean reward, and of how many requests.
    """
    routed = SETS[NAME]
    matrix = routed.matrix(data)
    order = routed.rounds(matrix, seed).order[:requests].tolist()
    place = {arm: number for number, arm in enumerate(matrix.arms)}
    declared = [{"id": arm} for arm in matrix.arms]
    async with ground(broker, folder / "loop") as where:
        worker = await new_worker(where, arms=json.dumps(declared))
        worker.start()
        try:
            await worker.ready()
            async with Eddy(settings=where.settings.model_copy(update={"arms": ()}), seed=seed) as eddy:
                await _routed(eddy)
                earned = [await _serve(eddy, matrix.queries[query], matrix.reward[query].tolist(), place) for query in order]
        finally:
            worker.kill()
    say(f"end to end: mean reward {sum(earned) / len(earned):.4f} of {len(earned)} requests")
    return {"reward": sum(earned) / len(earned), "requests": len(earned)}


async def _routed(eddy: Eddy) -> None:
    """Wait until a draw is from published probabilities."""
    async with asyncio.timeout(ROUTES_S):
        while eddy.router.select("anything").kind != "drawn":
            await asyncio.sleep(0.05)


async def _serve(eddy: Eddy, query: str, rewards: list[float], place: dict[str, int]) -> float:
    async with eddy.request(query) as request:
        reward = rewards[place[request.arm.id]]
        request.finish(feedback=reward)
    await asyncio.sleep(PAUSE_S)
    return reward
