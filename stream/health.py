"""Serves `/metrics`, `/live` and `/ready` of one process, and `/state` where a setting allows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from stream.addresses import write_address

Check = Callable[[], str]
"""Says what is wrong, in a few words; empty: nothing is."""


class HealthServer:
    """A small web server.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        address_file: where host and port are written once it listens.
        is_live: what is wrong so that the process should be restarted.
        is_ready: what keeps it from working.
        metrics: the process's own; what the Python runtime and a user's code register for themselves is served beside them.
        states: the canonical state of each partition held, by number; None where it is not to be seen.
        mount: adds what else is to be served.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        address_file: Path,
        is_live: Check,
        is_ready: Check,
        metrics: CollectorRegistry,
        states: Callable[[], Mapping[int, Any]] | None = None,
        mount: Callable[[web.Application], object] | None = None,
    ) -> None:
        self._host, self._port, self._address_file, self._metrics, self._states = host, port, address_file, metrics, states
        self._application = web.Application()
        self._application.add_routes([web.get("/metrics", self._scrape), web.get("/live", _checked(is_live)), web.get("/ready", _checked(is_ready))])
        if states is not None:
            self._application.router.add_get("/state", self._state)
        if mount is not None:
            mount(self._application)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, and write down where."""
        self._runner = web.AppRunner(self._application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]
        write_address(self._address_file, host=self._host, port=self._port)

    async def stop(self) -> None:
        """Stop listening, and take the address away."""
        if self._runner is not None:
            self._address_file.unlink(missing_ok=True)
            await self._runner.cleanup()

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY) + generate_latest(self._metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _state(self, request: web.Request) -> web.Response:
        """Canonical states: of one partition with `?partition=N`, of all that are held without."""
        held = self._states() if self._states is not None else {}
        wanted = request.query.get("partition")
        if wanted is None:
            return web.json_response({str(number): state for number, state in held.items()})
        if not wanted.isdigit() or int(wanted) not in held:
            return web.json_response({"error": f"partition {wanted!r} is not held here, but only these are: {sorted(held)}"}, status=404)
        return web.json_response(held[int(wanted)])


def _checked(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text=wrong or "ok", status=503 if wrong else 200)

    return answer
