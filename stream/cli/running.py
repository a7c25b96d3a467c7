"""What a person sees of `eddy up`: addresses first, then when traces arrive and when a decision moves."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from stream.cli.common import plain
from stream.errors import EddyError

if TYPE_CHECKING:
    from stream.records import RoutingUpdate
    from stream.settings import Settings

RETRY_S = 1.0
MOVE = 0.02
"""Change of a probability that is told: twice what is worth an update of its own."""


async def run_up(settings: Settings, *, embedded: bool, workers: int) -> None:
    """Run the loop until SIGINT or SIGTERM.

    Raises:
        EddyError: it cannot be started.
    """
    from stream.supervise import Supervisor

    settings, environment = with_free_ports(settings)
    supervisor = Supervisor(settings, embedded=embedded, workers=workers, environment=environment, say=say, beside=partial(_beside, is_embedded=embedded, workers=workers))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
    loop = asyncio.create_task(supervisor.run())
    ready = asyncio.create_task(supervisor.ready.wait())
    await asyncio.wait((loop, ready), return_when=asyncio.FIRST_COMPLETED)
    watching = asyncio.create_task(_watch(supervisor.settings)) if supervisor.ready.is_set() else None
    if watching is not None:
        print(welcome(supervisor.settings), flush=True)
    await loop
    for task in (ready, watching):
        if task is not None:
            task.cancel()
    say("everything has ended")


async def _beside(settings: Settings, *, is_embedded: bool, workers: int) -> None:
    await asyncio.gather(tell_ready(settings, workers=workers), see_to_fold(settings, is_embedded=is_embedded))


async def tell_ready(settings: Settings, *, workers: int) -> None:
    """Say when the workers hold their partitions: from then on what is published is folded at once."""
    from stream.addresses import running

    while sum([await _is_ready(address.url) for address in running(settings.data_dir, "worker")]) < workers:
        await asyncio.sleep(RETRY_S)
    say("the worker is ready" if workers == 1 else f"all {workers} workers are ready")


async def _is_ready(url: str) -> bool:
    from aiohttp import ClientError, ClientSession, ClientTimeout

    with suppress(ClientError, OSError, TimeoutError):
        async with ClientSession(timeout=ClientTimeout(total=1.0)) as session, session.get(f"{url}/ready") as answer:
            return answer.status == 200
    return False


async def see_to_fold(settings: Settings, *, is_embedded: bool) -> None:
    """See to it that what is learned with these settings is served; a broker that is away is asked again."""
    from aiokafka.errors import KafkaError

    from stream.cli.rebuilding import adopt_fold

    while True:
        with suppress(EddyError, OSError, KafkaError):
            await adopt_fold(settings, is_embedded=is_embedded, say=say)
            return
        await asyncio.sleep(RETRY_S)


def with_free_ports(settings: Settings) -> tuple[Settings, dict[str, str]]:
    """Take free ports for those set to 0 or held by somebody else; returns the settings, and what children must find in their environment."""
    from stream.broker import free_port

    wanted = {name: getattr(settings, name) for name in ("learner_port", "worker_port")}
    ports = {name: port if port and is_free(settings.metrics_host, port) else free_port() for name, port in wanted.items()}
    for name, port in ports.items():
        if wanted[name] not in (0, port):
            say(f"port {wanted[name]} of EDDY_{name.upper()} is taken; {port} serves instead")
    return settings.model_copy(update=ports), {f"EDDY_{name.upper()}": str(port) for name, port in ports.items()}


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen on a port now."""
    with suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return True
    return False


def say(text: str) -> None:
    """Tell an event, with its time."""
    print(f"{time.strftime('%H:%M:%S')}  {plain(text, most=600)}", flush=True)


def welcome(settings: Settings) -> str:
    """Say where everything is."""
    return f"""
Eddy runs; Ctrl-C ends it.
  publish to    {settings.bootstrap}, topic eddy.traces
  environment   export EDDY_BOOTSTRAP={settings.bootstrap}
  try it        eddy publish --example
  page          http://{settings.metrics_host}:{settings.learner_port}/
  data, logs    {settings.data_dir.absolute()}, {settings.data_dir.absolute() / "logs"}
"""


async def _watch(settings: Settings) -> None:
    """Tell when the first traces have arrived and when the first decision has moved."""
    while True:
        with suppress(EddyError, OSError):
            await _tell_firsts(settings)
            return
        await asyncio.sleep(RETRY_S)


async def _tell_firsts(settings: Settings) -> None:
    from stream.overview import TOPICS, Overview
    from stream.topic_reader import reading

    overview = Overview(settings.arm_fields)
    async with reading(settings, *TOPICS) as reader:
        async for record in reader.to_end():
            overview.take(record.topic, record.key, record.value)
        known, before = overview.trace_count, overview.updates
        say(f"{known:,} traces are known from before" if known else "waiting for the first trace")
        arrived = moved = False
        async for records in reader.follow():
            for record in records:
                overview.take(record.topic, record.key, record.value)
            if not arrived and overview.trace_count > known:
                arrived = True
                say(f"the first traces have arrived: {overview.trace_count - known:,}")
            if arrived and not moved and (update := first_moved(before, overview.updates)) is not None:
                moved = True
                say(f"the first decision has moved: for {update.query_class}, {_draws(update)}; see `eddy routes`")
            if arrived and moved:
                return


def first_moved(before: dict[str, RoutingUpdate], now: dict[str, RoutingUpdate]) -> RoutingUpdate | None:
    """Find a class whose routers draw otherwise than before: by more than what a restart, and evidence that grows old, change by themselves."""
    return next((update for name, update in now.items() if name not in before or _moved(before[name], update) > MOVE), None)


def _moved(before: RoutingUpdate, now: RoutingUpdate) -> float:
    """Return the greatest change of an arm's probability."""
    old, new = ({arm.id: arm.probability for arm in update.arms} for update in (before, now))
    return max((abs(new.get(name, 0.0) - old.get(name, 0.0)) for name in old.keys() | new.keys()), default=0.0)


def _draws(update: RoutingUpdate) -> str:
    likeliest = max(update.arms, key=lambda arm: arm.probability, default=None)
    return "no arm is left" if likeliest is None else f"routers draw {likeliest.id or '(no model)'} with {likeliest.probability:.0%}"
