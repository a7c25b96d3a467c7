"""`eddy doctor`, `topology` and `init`: is everything there, what flows where, and a first eddy.toml."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.common import FAILED, JsonOption, load_settings, note, plain, print_json, run
from stream.errors import EddyError

MARKS = {"ok": "✓", "warning": "!", "error": "✗"}

TEMPLATE = """\
# Settings of Eddy. Each may also stand in the environment as EDDY_<NAME>, which outranks this file.

# Where traces are published to. Leave it out on one machine: `eddy up` starts a broker and remembers its address.
# bootstrap = "127.0.0.1:9092"

# Which fields of an arm are routed over: "model", "model,agent", "model,agent,config".
arm = "model"

# The arm that serves while nothing is known; declare it below.
# default_arm = "small-model"

# Ceilings per request, averaged over the traffic: declared only, for no policy holds them yet.
# max_cost_usd = 0.002
# max_latency_s = 5.0

# Share of requests that try other arms than the best.
exploration_share = 0.05

# How much of a query is kept in the log: "full", "hashed" or "none".
query_text = "full"

# The arms there are; leave them out, and they are learned from the traces. Prices are declared only: no policy uses them yet.
# [[arms]]
# id = "small-model"
# usd_per_million_input_tokens = 0.15
# usd_per_million_output_tokens = 0.60
"""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (doctor, topology, init):
        app.command()(command)


def doctor(as_json: JsonOption = False) -> None:
    """Say what is missing, and what to do about it.

    The status is 1 when something that is needed is missing.
    """
    from stream.cli.diagnosis import diagnose

    settings = load_settings()
    checks = run(diagnose(settings))
    if as_json:
        print_json({"ok": all(check.state != "error" for check in checks), "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            print(f"{MARKS[check.state]} {check.name}: {plain(check.said, most=400)}" + (f"\n    → {plain(check.remedy, most=400)}" if check.remedy else ""))
    if any(check.state == "error" for check in checks):
        raise typer.Exit(FAILED)


def topology(write: Annotated[Path | None, typer.Option("--write", metavar="FILE", help="Write it to a file instead, such as docs/topology.md.")] = None) -> None:
    """Draw agents, tables and topics as a Mermaid graph.

    It is read off the running code, and printed in Markdown.
    """
    from stream.topology import draw

    page = draw(load_settings())
    if write is None:
        print(page, end="")
    else:
        write.write_text(page, encoding="utf-8")
        note(f"wrote {write}")


def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("eddy.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented eddy.toml to begin with."""
    if file.exists() and not force:
        raise EddyError(f"{file} is there already, but init replaces no file; edit it, or give --force")
    file.write_text(TEMPLATE, encoding="utf-8")
    note(f"wrote {file}; every line in it is a default or a comment, so nothing changes until you edit it")
