"""`eddy publish`, `feedback` and `forget`: records that go into the log."""

from __future__ import annotations

import getpass
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from stream.cli.common import FAILED, JsonOption, load_settings, note, print_json, run
from stream.errors import EddyError
from stream.records import Feedback, Forget, Trace
from stream.topics import TRACES


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (publish, feedback, forget):
        app.command()(command)


def publish(
    file: Annotated[Path | None, typer.Argument(help="JSON lines, gzip or not: traces, feedback, decisions; `-` reads standard input.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="At most so many records a second.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with a non-zero status when a line was skipped.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Publish one made-up trace instead of a file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a file of traces, one JSON record a line.

    A bad line is reported with its number and skipped.
    """
    if example == (file is not None):
        raise EddyError("publish got no file, or a file and --example, but it publishes one of them; give FILE or --example")
    if file is None:
        _publish_example(as_json=as_json)
        return
    from stream.cli.publish_file import Summary, publish_file

    settings = load_settings()
    summary: Summary = run(publish_file(settings, file, rate_per_s=rate, quiet=as_json))
    if as_json:
        print_json(asdict(summary))
    else:
        print(f"published {summary.published:,} records in {summary.took_s:.1f} s, skipped {summary.skipped:,} bad lines, the broker refused {summary.refused:,}")
        if summary.broken:
            note(f"eddy: {summary.broken}")
    if summary.broken or summary.refused or not summary.published or (strict and summary.skipped):
        raise typer.Exit(FAILED)


def feedback(
    trace_id: Annotated[str, typer.Argument(help="The trace that is rated; it may be hours old.")],
    score: Annotated[float, typer.Argument(min=0.0, max=1.0, help="Quality, from 0 to 1.")],
    rater: Annotated[str | None, typer.Option(help="Who rates; a later word of the same rater replaces it. Your login name when not given.")] = None,
    kind: Annotated[str, typer.Option(help="human, judge or program.")] = "human",
    comment: Annotated[str | None, typer.Option(help="Kept with the rating.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rate one trace."""
    if kind not in ("human", "judge", "program"):
        raise EddyError(f"rater kind {kind!r} is not known, but it is human, judge or program; give one of these with --kind")
    record = Feedback(trace_id=trace_id, rater=rater or getpass.getuser(), rater_kind=kind, score=score, given_at=time.time(), comment=comment)  # type: ignore[arg-type] # checked above
    _send(trace_id, record, f"rated {trace_id} {score:g}", as_json=as_json)


def forget(trace_id: Annotated[str, typer.Argument(help="The trace to remove.")], as_json: JsonOption = False) -> None:
    """Remove a trace from the archive and from later cycles."""
    _send(trace_id, Forget(trace_id=trace_id), f"asked to forget {trace_id}; the archive drops it as it reads on", as_json=as_json)


def _publish_example(*, as_json: bool) -> None:
    now_s = time.time()
    trace = Trace(
        trace_id=f"example-{uuid.uuid4().hex[:12]}",
        query="Write a function that reverses a list",
        agent="example",
        model="example-model",
        result="list(reversed(items))",
        outcome="success",
        started_at=now_s - 0.5,
        ended_at=now_s,
        total_tokens=42,
        total_latency_seconds=0.5,
        cost_usd=0.0001,
    )
    _send(trace.trace_id, trace, f"published the trace {trace.trace_id}; rate it with `eddy feedback {trace.trace_id} 1`", as_json=as_json)


def _send(trace_id: str, record: Trace | Feedback | Forget, done: str, *, as_json: bool) -> None:
    from stream.cli.publish_file import preparing
    from stream.cli.sending import send_all

    settings = load_settings()
    key, value = preparing(settings)(msgspec.json.encode(record))  # what the worker would refuse is refused here
    run(send_all(settings, [(TRACES.name, key, value)]))
    if as_json:
        print_json({"trace_id": trace_id, "type": record.type, "sent": True})
    else:
        note(done)
