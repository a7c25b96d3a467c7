"""`eddy train`: one LoRA adapter by hand, from a file of conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.common import JsonOption, note, print_json
from stream.errors import TrainingError

if TYPE_CHECKING:
    from stream.training.progress import Progress

_TOLD = ("status", "reason", "adapter", "adapter_path", "total_steps", "stopped_by", "held_out_loss_before", "held_out_loss_after", "training_samples", "seconds", "peak_mb")


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(train)


def train(
    data: Annotated[Path, typer.Option(help="Conversations, one JSON object a line, as `eddy export` writes them.")],
    model: Annotated[str, typer.Option(help="Folder of the base model, or its name in the local cache.")],
    held_out: Annotated[Path | None, typer.Option(help="Conversations to measure on; else a share of the data's queries.")] = None,
    output: Annotated[Path, typer.Option(help="Folder that adapters are written into.")] = Path("adapters"),
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; else the first that there is.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="End after so many steps.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG of the losses (needs matplotlib); else beside the adapter, where matplotlib is installed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a LoRA adapter; ask for the same again to go on with a run that was killed."""
    from stream.training.availability import is_installed, require
    from stream.training.config import LoRATrainingConfig
    from stream.training.lora import LoRATrainer

    if plot:
        require("matplotlib", purpose="--plot", extra="matplotlib")
    config = LoRATrainingConfig(output_dir=str(output), target_modules="all-linear", learning_rate=2e-4, max_steps=max_steps)
    pairs, measured = read_lines(data), read_lines(held_out) if held_out else None
    trainer = LoRATrainer(config, model_name=model, device=device)
    seen: list[Progress] = []
    with _bar(quiet=as_json) as show:

        def follow(progress: Progress) -> None:
            seen.append(progress)
            show(progress)

        result = trainer.train(pairs, held_out=measured, on_progress=follow)
    told: dict[str, Any] = {name: result[name] for name in _TOLD if name in result}
    if "adapter_path" in result and (plot or is_installed("matplotlib")):
        told["plot"] = str(draw_losses(seen, plot or output / f"{Path(result['adapter_path']).name}.loss.png"))
    _tell(told, as_json=as_json)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON objects, one a line; empty lines are passed over.

    Raises:
        TrainingError: the file cannot be read, a line is no JSON object, or there is none.
    """
    import orjson

    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as exc:
        raise TrainingError(f"{path} cannot be read ({exc.strerror}), but a run needs its conversations; `eddy export` writes such a file") from exc
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as exc:
            raise TrainingError(f"line {number} of {path} is no JSON ({exc}), but each line holds one object; correct it") from exc
        if not isinstance(row, dict):
            raise TrainingError(f"line {number} of {path} holds {type(row).__name__}, but each line holds one object; correct it")
        rows.append(row)
    if not rows:
        raise TrainingError(f"{path} holds no conversation, but a run needs some; `eddy export` writes such a file")
    return rows


def draw_losses(seen: list[Progress], path: Path) -> Path:
    """Draw the losses over the steps of this run, since it was last begun, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for label, field, style in (("training", "loss", "-"), ("held out", "held_out_loss", "o-")):
        points = [(progress.step, value) for progress in seen if (value := getattr(progress, field)) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="step", ylabel="loss (nats a token)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=150)
    return path


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Show the steps, the loss and the time left, on a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("loading the model", total=None)

        def show(progress: Progress) -> None:
            loss = "" if progress.loss is None else f"loss {progress.loss:.3f}, {progress.tokens_per_s:,.0f} tokens/s"
            bar.update(task, completed=progress.step, total=progress.total_steps, description=loss)

        yield show


def _tell(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        print(f"{name.replace('_', ' ')}: {value}")
    if "plot" not in told:
        note("no plot was drawn: matplotlib is not installed, or nothing was trained")
