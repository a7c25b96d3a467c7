"""What the demo shows while it runs: a live table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream.errors import EddyError
from stream.overview import TOPICS, Overview
from stream.topic_reader import reading

if TYPE_CHECKING:
    from stream.demo.fleet import Tally
    from stream.settings import Settings

REDRAW_S = 0.5
LINE_S = 5.0
MOST_ARMS = 4


@asynccontextmanager
async def showing(settings: Settings, tally: Tally, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Show what is learned until the block is left."""
    console, overview = Console(), Overview(settings.arm_fields)
    following = asyncio.create_task(_follow(settings, overview))
    drawing = asyncio.create_task(_draw_table(console, overview, tally) if console.is_terminal else _print_lines(overview, tally, say))
    try:
        yield
    finally:
        for task in (following, drawing):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def line_of(report: dict[str, Any], tally: Tally, elapsed_s: float) -> str:
    """Sum up in one line."""
    best = ", ".join(f"{name} → {_likeliest(entry)}" for name, entry in sorted(report["classes"].items()))
    return f"{elapsed_s:4.0f} s  {tally.requests:,} requests, {report['traces']:,} counted, mean reward {tally.mean_reward:.3f} against {tally.mean_uniform:.3f} uniform; {best}"


def _likeliest(entry: dict[str, Any]) -> str:
    arms: dict[str, dict[str, Any]] = entry["arms"]
    if not arms:
        return "nothing yet"
    name, arm = next(iter(arms.items()))
    return f"{name} {arm.get('probability') or 0.0:.0%}"


async def _follow(settings: Settings, overview: Overview) -> None:
    while True:
        with suppress(EddyError, OSError):
            async with reading(settings, *TOPICS) as reader:
                async for records in reader.follow():
                    for record in records:
                        overview.take(record.topic, record.key, record.value)
        await asyncio.sleep(1.0)


async def _print_lines(overview: Overview, tally: Tally, say: Callable[[str], None]) -> None:
    started_s = time.monotonic()
    while True:
        await asyncio.sleep(LINE_S)
        say(line_of(overview.report(), tally, time.monotonic() - started_s))


async def _draw_table(console: Console, overview: Overview, tally: Tally) -> None:
    started_s = time.monotonic()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            report = overview.report()
            summary = Text(line_of(report, tally, time.monotonic() - started_s).partition(";")[0])
            live.update(Group(summary, _table(report)), refresh=True)
            await asyncio.sleep(REDRAW_S)


def _table(report: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("class", "arm", "share", "", "mean", "traces"):
        table.add_column(name, justify="left" if name in ("class", "arm", "") else "right")
    for name, entry in sorted(report["classes"].items()):
        for place, (arm, said) in enumerate(list(entry["arms"].items())[:MOST_ARMS]):
            share, mean = said.get("probability") or 0.0, said.get("mean")
            cells = (name if place == 0 else "", arm, f"{share:.1%}", "█" * round(20 * share), "–" if mean is None else f"{mean:.3f}", f"{said['count']:,}")
            table.add_row(*(Text(cell) for cell in cells))
    return table
