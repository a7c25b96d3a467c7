"""`eddy rebuild`: folds the retained log anew, beside the fold that is active, and makes the new one active once it has caught up."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.common import JsonOption, checked_settings, note, print_json, run


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(rebuild)


def rebuild(
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Start no worker here: workers with the new settings run elsewhere.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fold the retained log anew with the settings of now.

    The new fold is made the active one once it has caught up.
    """
    from stream.cli.rebuilding import rebuild_fold

    report = run(rebuild_fold(checked_settings(), start_worker=not no_worker, quiet=as_json))
    if as_json:
        print_json(report)
    elif report["was_active"]:
        note(f"fold {report['fold']} is active already; change a setting of the fold (classifier, horizon, caps, keeping) first, else there is nothing to rebuild")
    else:
        note(f"fold {report['fold']} has read {report['records']:,} records and is active now; restart your workers with these settings")
