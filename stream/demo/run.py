"""`eddy demo`: starts everything in a folder of its own, lets the fleet work, shows what is learned, and holds it against the log.

1. Start the loop as `eddy up` does, with the world's arms declared.
2. Wait until routers draw from published probabilities, then serve requests for the time given.
3. Let the loop catch up, fold the log again with one thread, compare, and end everything.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stream.broker import free_port
from stream.demo.audit import Audit, audit
from stream.demo.fleet import Fleet, Tally
from stream.demo.show import showing
from stream.demo.world import World, find_world
from stream.errors import BrokerUnavailableError, EddyError
from stream.supervise import Supervisor

if TYPE_CHECKING:
    from stream.settings import Settings

START_S = 60.0
CATCH_UP_S = 45.0
"""Far more than the second or so between two checkpoints and two publications."""
TELL_S = 2.0


async def run_demo(*, seconds: float | None, rate_per_s: float, seed: int, say: Callable[[str], None]) -> bool:
    """Run the demo; returns whether every trace was counted, and once.

    Args:
        seconds: how long requests are made; None: until SIGINT or SIGTERM, which end them sooner in any case.
        rate_per_s: requests a second.
        seed: which queries come, and what is drawn.
        say: told what a person should know, a line at a time.

    Raises:
        EddyError: the loop could not be started.
    """
    world = find_world(seed=seed)
    say(f"rewards: {world.source}")
    with tempfile.TemporaryDirectory(prefix="eddy-demo-") as folder:
        settings, environment = settings_of(world, Path(folder))
        async with _loop(settings, environment, say) as supervisor:  # 1
            say(f"page: http://{settings.metrics_host}:{settings.learner_port}/")
            async with Fleet(supervisor.settings, world, seed=seed) as fleet:
                await _serve(fleet, supervisor.settings, seconds=seconds, rate_per_s=rate_per_s, say=say)  # 2
                found = await audit(supervisor.settings, frozenset(fleet.tally.trace_ids), within_s=CATCH_UP_S)  # 3
    for line in last_lines(fleet.tally, found, dropped=fleet.dropped):
        say(line)
    return found.is_clean


def settings_of(world: World, folder: Path) -> tuple[Settings, dict[str, str]]:
    """Make the demo's settings, and the environment in which its processes find the same."""
    from stream.settings import load

    given = {
        "data_dir": str(folder),
        "learner_port": str(free_port()),
        "worker_port": str(free_port()),
        "partitions": "4",
        "arm": "model,agent",
        "arms": json.dumps([{"id": arm.id} for arm in world.arms]),
        "exploration_share": "0.05",
        "min_evidence": "5",
    }
    settings = load(**(given | {"arms": json.loads(given["arms"])}))
    return settings, {f"EDDY_{name.upper()}": value for name, value in given.items()}


def last_lines(tally: Tally, found: Audit, *, dropped: int) -> list[str]:
    """Sum the demo up; the last line is for machines."""
    summary = (
        f"{tally.drawn:,} of {tally.requests:,} requests drawn, {tally.copies:,} copies and {tally.ratings:,} late ratings among the records,"
        f" {found.duplicates:,} duplicates found in the log, {dropped:,} records not delivered"
    )
    lines = [summary, f"{found.differing} sums of a class and arm differ from the log's own"] if found.differing else [summary]
    reward, uniform = f"{tally.mean_reward:.3f}", f"{tally.mean_uniform:.3f}"
    return [*lines, f"demo: requests={tally.requests} mean_reward={reward} uniform={uniform} lost={found.lost} double_counted={found.double_counted}"]


@asynccontextmanager
async def _loop(settings: Settings, environment: dict[str, str], say: Callable[[str], None]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(settings, embedded=True, workers=1, environment=environment, say=say)
    running = asyncio.create_task(supervisor.run())
    ready = asyncio.create_task(supervisor.ready.wait())
    try:
        await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED, timeout=START_S)
        if running.done():
            running.result()
        if not ready.done():
            raise BrokerUnavailableError(f"the loop did not start within {START_S:g} s, but the demo needs it; look into {settings.data_dir / 'logs'}")
        yield supervisor
    finally:
        ready.cancel()
        supervisor.stop()
        with suppress(EddyError):
            await running


async def _serve(fleet: Fleet, settings: Settings, *, seconds: float | None, rate_per_s: float, say: Callable[[str], None]) -> None:
    started_s = time.monotonic()
    if not await fleet.routes_known():
        raise BrokerUnavailableError(f"no routing update came within {time.monotonic() - started_s:.0f} s, but the fleet draws from one; look into {settings.data_dir / 'logs'}")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, fleet.stop)
    async with showing(settings, fleet.tally, say):
        await fleet.serve(seconds=seconds, rate_per_s=rate_per_s)
