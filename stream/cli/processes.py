"""`eddy up`, `worker`, `learner` and `demo`: what runs until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.common import FAILED, checked_settings, run


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (up, worker, learner, demo):
        app.command()(command)


def up(
    broker: Annotated[str | None, typer.Option("--broker", metavar="HOST:PORT", help="Use this Kafka instead of starting a broker.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where everything is kept; .eddy when not given.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Worker processes.")] = 1,
) -> None:
    """Run the whole loop on this machine until Ctrl-C.

    Broker, workers, learner and page are processes of their own, started again when they end.
    """
    from stream.cli.running import run_up

    given = {"bootstrap": broker, "data_dir": data_dir}
    run(run_up(checked_settings(**given), embedded=broker is None, workers=workers))


def worker() -> None:
    """Run one worker, which folds traces into what is learned.

    More of them share the partitions.
    """
    from stream.app import run_worker

    run_worker(checked_settings())


def learner() -> None:
    """Run the learner, which archives the log; there is one.

    It serves the page too.
    """
    from stream.learner import main

    main(checked_settings())


def demo(
    seconds: Annotated[float | None, typer.Option("--seconds", envvar="DEMO_S", min=1.0, help="How long requests are made; until Ctrl-C when not given.")] = None,
    rate: Annotated[float, typer.Option("--rate", min=1.0, max=2_000.0, help="Requests a second.")] = 100.0,
    seed: Annotated[int, typer.Option("--seed", help="Which queries come, and what is drawn.")] = 0,
) -> None:
    """Watch it learn from a fleet of simulated agents.

    Everything runs as with `eddy up`, in a folder of its own; the agents' true rewards are known.
    """
    from stream.demo.run import run_demo

    if not run(run_demo(seconds=seconds, rate_per_s=rate, seed=seed, say=lambda text: print(text, flush=True))):
        raise typer.Exit(FAILED)
