"""`eddy export`: what was learned from, as files that trainers read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stream.cli.common import JsonOption, load_settings, note, print_json
from stream.errors import EddyError

if TYPE_CHECKING:
    from stream.learning.mining.export import Wanted

SUFFIXES = {"chat": ".jsonl", "preference": ".jsonl", "parquet": ".parquet"}
ROWS = 1_000
"""Written to a Parquet file at a time."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    form: Annotated[Literal["chat", "preference", "parquet"], typer.Option("--format", help="Conversations, pairs of a better and a worse one, or Parquet.")] = "chat",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; eddy-FORMAT in this folder when left out.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only of this agent.")] = None,
    query_class: Annotated[str | None, typer.Option("--class", help="Only of this class.")] = None,
    since: Annotated[str, typer.Option("--since", help="The period, up to now: a number and m, h, d or w; all when left out.")] = "",
    split: Annotated[Literal["train", "tune", "test"] | None, typer.Option("--split", help="Only of this side; no query is on two.")] = None,
    min_quality: Annotated[float | None, typer.Option("--min-quality", min=0.0, max=1.0, help="Score from which an answer is good; EDDY_MIN_QUALITY when left out.")] = None,
    redact: Annotated[bool | None, typer.Option("--redact/--no-redact", help="Take secrets and personal data out; as EDDY_REDACT says when left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the best answer to each query, or the best and the worst, for fine-tuning.

    Files load with Hugging Face datasets: load_dataset("json", data_files=…), or "parquet". Keys, passwords, e-mail addresses, telephone, card and
    account numbers are replaced by [secret], [email] and so on; names and postal addresses are not known from other words, and stay.
    """
    from stream.archive.reader import ArchiveReader
    from stream.archive.schema import ARCHIVE_FILE
    from stream.cli.evaluating import seconds_of
    from stream.learning.mining.answers import Period
    from stream.learning.mining.export import Wanted, exported
    from stream.learning.mining.redaction import Redactor

    settings = load_settings()
    path = output or Path(f"eddy-{form}{SUFFIXES[form]}")
    since_ms = int((time.time() - seconds_of(since)) * 1000) if since else 0
    period = Period(agent=agent, query_class=query_class, since_ms=since_ms)
    wanted = Wanted(form="preference" if form == "preference" else "chat", period=period, split=split, min_quality=settings.min_quality if min_quality is None else min_quality)
    redactor = Redactor(region=settings.redact_region) if (settings.redact if redact is None else redact) else None
    with ArchiveReader(settings.data_dir / ARCHIVE_FILE) as reader, _progress(quiet=as_json) as seen:
        rows = exported(reader, wanted, seen, redactor)
        written = _write_parquet(path, rows) if form == "parquet" else _write_lines(path, rows)
    _tell(path, written, wanted, None if redactor is None else dict(redactor.counts), as_json=as_json)


def _tell(path: Path, written: int, wanted: Wanted, redacted: dict[str, int] | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(path), "rows": written, "format": wanted.form, "split": wanted.split, "redacted": redacted})
    elif written:
        taken = "not redacted" if redacted is None else "redacted: " + (", ".join(f"{count} {kind}" for kind, count in sorted(redacted.items())) or "nothing was found")
        print(f"{written} {'pairs' if wanted.form == 'preference' else 'conversations'} in {path} ({taken})")
    else:
        note(f"nothing was exported: no answer is scored {wanted.min_quality} or better, so {path} is empty; `eddy feedback` rates answers")


def _write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Write JSON Lines beside the file, and put it in its place when it is whole."""
    import msgspec

    partial, written = path.with_name(path.name + ".partial"), 0
    with partial.open("wb") as file:
        for row in rows:
            file.write(msgspec.json.encode(row) + b"\n")
            written += 1
    partial.replace(path)
    return written


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Write Parquet; messages are JSON text, since their fields differ from one to the next."""
    import msgspec

    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as exc:
        raise EddyError("Parquet needs the package pyarrow, but it is not installed; run `pip install 'eddy-loop[parquet]'`, or take --format chat") from exc
    names = ("messages", "query_class", "agent", "model", "split", "trace_id")
    schema = arrow.schema([*((name, arrow.string()) for name in names), ("score", arrow.float64())])
    partial, written = path.with_name(path.name + ".partial"), 0
    with parquet.ParquetWriter(partial, schema) as writer:
        for batch in _batches(rows):
            texts = [row | {"messages": msgspec.json.encode(row["messages"]).decode()} for row in batch]
            writer.write_table(arrow.Table.from_pylist(texts, schema=schema))
            written += len(batch)
    partial.replace(path)
    return written


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show how many answers were read, on a terminal; the archive is read twice."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading answers", total=None)
        yield lambda number: bar.update(task, completed=number, description=f"read {number:,} answers")


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    from itertools import islice

    while batch := list(islice(rows, ROWS)):
        yield batch
