"""`eddy pin`, `withdraw`, `freeze` and what lifts them: an operator's word over what is learned."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from stream.cli.common import JsonOption, load_settings, note, print_json, run
from stream.errors import EddyError
from stream.records import Arm, Override
from stream.topics import OVERRIDES

ClassArgument = Annotated[str, typer.Argument(metavar="CLASS", help="The class, as `eddy routes` names it; `*`: every class.")]
ArmArgument = Annotated[str, typer.Argument(metavar="ARM", help="The arm, as `eddy routes` names it: MODEL or MODEL|AGENT.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; shown on the page.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (pin, unpin, withdraw, restore, freeze, unfreeze):
        app.command()(command)


def pin(query_class: ClassArgument, arm: ArmArgument, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Let one arm serve every request of a class.

    `eddy unpin CLASS` lifts it.
    """
    _place(Override(kind="pin", query_class=query_class, arm=_arm(arm), reason=reason, given_at=time.time()), as_json=as_json)


def unpin(query_class: ClassArgument, as_json: JsonOption = False) -> None:
    """Lift the pin of a class."""
    _lift(Override(kind="pin", query_class=query_class), as_json=as_json)


def withdraw(arm: ArmArgument, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Take an arm out of every class at once.

    `eddy restore ARM` lifts it.
    """
    _place(Override(kind="withdraw", arm=_arm(arm), reason=reason, given_at=time.time()), as_json=as_json)


def restore(arm: ArmArgument, as_json: JsonOption = False) -> None:
    """Let a withdrawn arm be drawn again."""
    _lift(Override(kind="withdraw", arm=_arm(arm)), as_json=as_json)


def freeze(query_class: ClassArgument, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Keep the probabilities of a class as they are.

    Counting goes on; `eddy unfreeze CLASS` lifts it.
    """
    _place(Override(kind="freeze", query_class=query_class, reason=reason, given_at=time.time()), as_json=as_json)


def unfreeze(query_class: ClassArgument, as_json: JsonOption = False) -> None:
    """Let the probabilities of a class move again."""
    _lift(Override(kind="freeze", query_class=query_class), as_json=as_json)


def _arm(name: str) -> Arm:
    try:
        return Arm.parse(name)
    except ValueError as exc:
        raise EddyError(str(exc)) from exc


def _place(override: Override, *, as_json: bool) -> None:
    from stream.cli.sending import send_record

    run(send_record(load_settings(), OVERRIDES.name, override.key, override))
    _done(override.key, "stands", as_json=as_json)


def _lift(override: Override, *, as_json: bool) -> None:
    from stream.cli.sending import send_record

    run(send_record(load_settings(), OVERRIDES.name, override.key, None))
    _done(override.key, "is lifted", as_json=as_json)


def _done(key: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"override": key, "standing": what == "stands"})
    else:
        note(f"the override {key} {what}; routers follow with their next update")
