"""Serves the page at `/` and what it shows at `/api/state`."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from importlib.resources import files

from aiohttp import web

from stream.settings import Settings
from stream.web.follower import Follower


def mount(app: web.Application, settings: Settings, *, archive_rows: Callable[[], int | None] = lambda: None) -> Follower:
    """Add the page to an application; its follower starts and ends with the application.

    Args:
        app: the application, not started yet.
        settings: how the broker is reached and which fields of an arm are routed over.
        archive_rows: asked at each request for the number of rows in the archive; None where nobody knows.

    Returns:
        The follower, whose `state()` is what the page shows.
    """
    follower = Follower(settings, archive_rows=archive_rows)
    html = files("stream.web").joinpath("page.html").read_text(encoding="utf-8")
    headers = {"Content-Security-Policy": security_policy(html), "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}

    async def serve_page(request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html", headers=headers)

    async def serve_state(request: web.Request) -> web.Response:
        return web.json_response(follower.state(), headers=headers)

    async def follow(app: web.Application) -> AsyncIterator[None]:
        follower.start()
        yield
        await follower.stop()

    app.router.add_get("/", serve_page)
    app.router.add_get("/api/state", serve_state)
    app.cleanup_ctx.append(follow)
    return follower


def security_policy(html: str) -> str:
    """Allow the page's own script and style, by their hashes, and its own address; nothing else."""
    script, style = (_hash_of(tag, html) for tag in ("script", "style"))
    return f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hash_of(tag: str, html: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digest = hashlib.sha256(found[1].encode() if found else b"").digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
