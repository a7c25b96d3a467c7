"""What the commands share: settings that find the local broker, output for people and machines, one-sentence errors."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from stream.settings import Settings

T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
"""Every command that prints takes it."""
FAILED = 1


def load_settings(**given: Any) -> Settings:
    """Read the settings; where nobody names a broker, take the one that `eddy up` left in the data folder.

    Raises:
        SettingsError: a setting cannot be used.
    """
    from stream.broker import with_local_broker
    from stream.settings import load

    return with_local_broker(load(**{name: value for name, value in given.items() if value is not None}))


def checked_settings(**given: Any) -> Settings:
    """Read the settings for a process that is to run on them, and name on stderr what of them has no effect.

    Raises:
        SettingsError: a setting cannot be used, or names a policy or a classifier that is not there.
    """
    from stream.preflight import check, doubts

    settings = load_settings(**given)
    check(settings)
    for doubt in doubts(settings, os.environ):
        note(doubt)
    return settings


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run what talks to the broker, turning its client's errors into one sentence.

    Raises:
        BrokerUnavailableError: the broker is away, or refuses.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    from aiokafka.errors import KafkaError

    from stream.errors import BrokerUnavailableError

    try:
        return asyncio.run(work)
    except KafkaError as exc:
        raise BrokerUnavailableError(f"the broker refused ({type(exc).__name__}: {exc}), but this needs its answer; `eddy doctor` says what is wrong") from exc


def report(exc: Exception) -> int:
    """Print an error as one sentence on stderr; returns the exit status."""
    print(f"eddy: {exc}", file=sys.stderr)
    return FAILED


def note(text: str) -> None:
    """Tell a person something beside the result: on stderr, so that piped output stays clean."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print one value for machines."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def plain(text: str, *, most: int = 200) -> str:
    r"""Make untrusted text fit for a terminal: control characters are written out, what is too long is cut.

    Example:
        >>> plain("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[: most + 1])
    return shown if len(text) <= most else shown[:most] + "…"


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, prose: str = "") -> None:
    """Print a table for people; every cell is taken as text, never as markup."""
    wide_console().print(table_of(columns, rows, prose=prose))


def wide_console() -> Console:
    """Open a console that takes text as text; where no terminal says how wide it is, wide enough for any table."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, width=160)


def table_of(columns: Iterable[str], rows: Iterable[Iterable[str]], *, title: str | None = None, prose: str = "") -> Any:
    """Lay out a table for people; the first column is text, the others stand to the right, but for the one of prose, which gives way to all."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1), title=Text(plain(title)) if title else None, title_justify="left", pad_edge=False)
    for place, column in enumerate(columns):
        is_whole = column != prose if prose else place > 0
        table.add_column(column, justify="right" if place and is_whole else "left", overflow="fold", no_wrap=is_whole, min_width=None if place or prose else 16)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table
