"""A child process is kept running, with a growing delay, and ends when it is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

from stream.children import Child


async def until(holds: object, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def test_child_that_ends_is_started_again_after_a_growing_delay(tmp_path: Path) -> None:
    """A command that does not exist ends with status 2 at once: half a second until the next start, then a whole one."""
    said: list[str] = []
    child = Child("broken", "there-is-none", environment={}, log_path=tmp_path / "logs" / "broken.log", say=said.append)

    child.start()
    await until(lambda: len(said) >= 2)
    await child.end(in_order=True)

    assert "broken ended with status 2; it starts again in 0.5 s" in said[0]
    assert "in 1 s" in said[1]
    assert "there-is-none" in (tmp_path / "logs" / "broken.log").read_text()
    assert child.pid is None


async def test_last_words_of_a_child_are_told(tmp_path: Path) -> None:
    """Whoever runs `eddy up` reads why a child ended without opening its log."""
    said: list[str] = []
    child = Child("routes", "routes", environment={"EDDY_BOOTSTRAP": "127.0.0.1:1"}, log_path=tmp_path / "routes.log", say=said.append)

    child.start()
    await until(lambda: said)
    await child.end(in_order=False)

    assert "no Kafka broker answers at 127.0.0.1:1" in said[0]
