"""`eddy adapters`: what was trained, and what it is worth, from a folder of adapters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.common import JsonOption, note, print_json, print_table
from stream.errors import TrainingCheckpointError

if TYPE_CHECKING:
    from stream.training.adapters import Adapter

FolderOption = Annotated[Path, typer.Option("--folder", help="Folder that adapters are kept in.")]
_HERE = Path("adapters")


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="Trained adapters: list and show them.", no_args_is_help=True)
    group.command("list")(list_adapters)
    group.command("show")(show)
    app.add_typer(group, name="adapters")


def list_adapters(folder: FolderOption = _HERE, as_json: JsonOption = False) -> None:
    """List the adapters of a folder; one that cannot be read is named on stderr."""
    if not folder.is_dir():
        raise TrainingCheckpointError(f"{folder} is no folder, but adapters are read from one; name it with --folder")
    found = [adapter for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".") and (adapter := _readable(path))]
    if as_json:
        print_json([adapter.card for adapter in found])
    elif found:
        names = ("held_out_loss_before", "held_out_loss_after")
        print_table(("adapter", "loss before", "loss after"), ((adapter.path.name, *(_number(adapter.card.get(name)) for name in names)) for adapter in found))
    else:
        note(f"no adapter is in {folder}; `eddy train` makes one")


def show(name: str, folder: FolderOption = _HERE, as_json: JsonOption = False) -> None:
    """Show an adapter's card, after a check of its weights against it."""
    import json

    from stream.training import adapters

    if Path(name).name != name or name in {"", ".", ".."}:
        raise TrainingCheckpointError(f"{name!r} is no adapter's name, but a folder's name is wanted; `eddy adapters list` gives them")
    card = adapters.read(folder / name).card
    if as_json:
        print_json(card)
    else:
        print(json.dumps(card, indent=2))


def _readable(path: Path) -> Adapter | None:
    from stream.training import adapters

    try:
        return adapters.read(path)
    except TrainingCheckpointError as exc:
        note(f"eddy: {exc}")
        return None


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"
