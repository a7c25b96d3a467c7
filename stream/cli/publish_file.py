"""Publishes a file of JSON lines: every good line as it stands, every bad one named by its number."""

from __future__ import annotations

import asyncio
import gzip
import io
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from stream.cli.common import note, plain
from stream.errors import EddyError, MalformedRecordError
from stream.topics import TRACES

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from stream.settings import Settings

GZIP_MAGIC = b"\x1f\x8b"
MOST_REPORTED = 20
"""Bad lines that are told one by one; the rest is only counted."""
Prepare = Callable[[bytes], tuple[bytes, bytes]]
BREATH = 512
"""Lines between two moments in which other tasks run: a producer that never waits starves its own sender."""


@dataclass(slots=True, kw_only=True)
class Summary:
    """What became of a file's lines."""

    published: int = 0
    skipped: int = 0
    refused: int = 0
    took_s: float = 0.0
    broken: str = ""
    """Why the file could not be read to its end; empty: it was."""
    bad_lines: list[dict[str, Any]] = field(default_factory=list)


async def publish_file(settings: Settings, path: Path, *, rate_per_s: float | None, quiet: bool) -> Summary:
    """Publish a file.

    Args:
        settings: how the broker is reached.
        path: JSON lines, gzip or not; `-` is standard input.
        rate_per_s: at most so many records a second; None is as fast as the broker takes them.
        quiet: no progress bar and no bad line on stderr; the summary has the first ones.

    Raises:
        EddyError: the file cannot be read.
    """
    from stream.cli.sending import producing

    summary, started_s, prepare = Summary(), time.monotonic(), preparing(settings)
    with _opened(path) as (lines, raw, size), _progress(size, quiet=quiet) as advance:
        async with producing(settings, TRACES.name) as producer:
            for number, line in enumerate(_to_the_break(lines, path, summary), 1):
                await _publish_line(prepare, producer, number, line, summary, quiet=quiet)
                if number % BREATH == 0 or rate_per_s:
                    advance(raw.tell() if raw.seekable() else 0)
                    await asyncio.sleep(_ahead_s(number - summary.skipped, rate_per_s, time.monotonic() - started_s))
            await producer.flush()
        advance(size)
    summary.took_s = time.monotonic() - started_s
    return summary


async def _publish_line(prepare: Prepare, producer: AIOKafkaProducer, number: int, line: bytes, summary: Summary, *, quiet: bool) -> None:
    value = line.strip()
    if not value:
        return
    try:
        key, value = prepare(value)
    except MalformedRecordError as exc:
        _skip(number, exc, summary, quiet=quiet)
        return
    sent = await producer.send(TRACES.name, value, key=key)
    sent.add_done_callback(lambda future: _count(future, summary))


def preparing(settings: Settings) -> Prepare:
    """Return what reads a record as the worker will, and gives the key it belongs under and what of it may be published.

    It raises MalformedRecordError where the worker would put the record among the dead letters.
    """
    from stream.client.privacy import hide_json
    from stream.reading.query_class import classifier
    from stream.reading.record import read_record

    classify = classifier(settings.classifier)

    def prepare(value: bytes) -> tuple[bytes, bytes]:
        reading = read_record(value, max_bytes=settings.max_record_bytes, classify=lambda query: "unread", apart=settings.keeps_tenants_apart)
        return reading.trace_id.encode(), hide_json(value, settings.query_text, classify=classify)

    return prepare


def _skip(number: int, exc: MalformedRecordError, summary: Summary, *, quiet: bool) -> None:
    summary.skipped += 1
    if summary.skipped <= MOST_REPORTED:
        summary.bad_lines.append({"line": number, "reason": exc.reason, "detail": exc.detail})
    if quiet:
        return
    if summary.skipped <= MOST_REPORTED:
        note(f"line {number} skipped: {exc.reason}: {plain(exc.detail)}")
    elif summary.skipped == MOST_REPORTED + 1:
        note("more bad lines follow; they are only counted")


def _count(sent: asyncio.Future[Any], summary: Summary) -> None:
    if sent.cancelled() or sent.exception() is not None:
        summary.refused += 1
    else:
        summary.published += 1


def _ahead_s(sent: int, rate_per_s: float | None, elapsed_s: float) -> float:
    return max(0.0, sent / rate_per_s - elapsed_s) if rate_per_s else 0.0


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Iterator[bytes], IO[bytes], int]]:
    """Open a file; yields its lines, the raw file whose position tells how far reading has come, and the raw size."""
    try:
        if str(path) == "-":
            yield _lines(sys.stdin.buffer), sys.stdin.buffer, 0
            return
        with path.open("rb") as raw:
            yield _lines(raw), raw, path.stat().st_size
    except EddyError:
        raise  # a broker that is away is an OSError too, and none of the file's
    except OSError as exc:
        raise EddyError(f"{path} cannot be read ({exc.strerror or exc}), but publish needs JSON lines, gzip or not; look at the path") from exc


def _to_the_break(lines: Iterator[bytes], path: Path, summary: Summary) -> Iterator[bytes]:
    """Read lines; where the file ends in the middle of its compression, stop, so that what came before is published and counted."""
    number = 0
    try:
        for number, line in enumerate(lines, 1):  # noqa: B007 - told when it breaks
            yield line
    except (OSError, EOFError, zlib.error) as exc:
        summary.broken = f"{path} cannot be read beyond line {number:,} ({exc}); get it whole and publish it again: what is in the log already counts once"


def _lines(raw: IO[bytes]) -> Iterator[bytes]:
    buffered = io.BufferedReader(raw) if isinstance(raw, io.RawIOBase) else raw
    start = buffered.peek(2)[:2] if isinstance(buffered, io.BufferedReader) else b""
    return iter(gzip.GzipFile(fileobj=buffered) if start == GZIP_MAGIC else buffered)


@contextmanager
def _progress(size: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(TextColumn("publishing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("publishing", total=size or None)
        yield lambda position: bar.update(task, completed=position)
