"""`eddy pin`, `withdraw`, `freeze`, `rollout`, `policy` and what lifts them: an operator's word over what is learned."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.common import JsonOption, load_settings, note, print_json, run
from stream.errors import EddyError
from stream.records import ANY_CLASS, Arm, Override
from stream.topics import OVERRIDES

if TYPE_CHECKING:
    from stream.settings import Settings

ClassArgument = Annotated[str, typer.Argument(metavar="CLASS", help="The class, as `eddy routes` names it; `*`: every class.")]
ArmArgument = Annotated[str, typer.Argument(metavar="ARM", help="The arm, as `eddy routes` names it: MODEL or MODEL|AGENT.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; shown on the page.")]

DEFAULT_POLICY = "default"
ForceOption = Annotated[bool, typer.Option("--force", help="Pin a class or an arm that no trace has shown yet.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (pin, unpin, withdraw, restore, freeze, unfreeze, rollout, policy):
        app.command()(command)


def pin(query_class: ClassArgument, arm: ArmArgument, reason: ReasonOption = "", force: ForceOption = False, as_json: JsonOption = False) -> None:
    """Let one arm serve every request of a class.

    `eddy unpin CLASS` lifts it. A class or an arm that no trace has shown is refused, since a whole class would be served by a typing error.
    """
    override = Override(kind="pin", query_class=query_class, arm=_arm(arm), reason=reason, given_at=time.time())
    if not force and (doubts := run(_doubts(load_settings(), override))):
        raise EddyError(f"{'; '.join(doubts)}: nothing is pinned, but --force pins what is still to come")
    _place(override, as_json=as_json)


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


def rollout(
    share: Annotated[str, typer.Argument(metavar="SHARE", help="`observe`: none follow it, routers only show what they would do; 0.05: that share; 1: all.")],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say how many requests follow what is learned, for every router at once; the default arm serves the rest.

    It can only lower what a router's own EDDY_ROLLOUT allows; `eddy rollout 1` lifts it.
    """
    from stream.settings import read_rollout

    try:
        allowed = read_rollout(share)
    except ValueError as exc:
        raise EddyError(str(exc)) from exc
    override = Override(kind="rollout", share=allowed, reason=reason, given_at=time.time())
    if allowed == 1:
        _lift(override, as_json=as_json)
        return
    if not (settings := load_settings()).default_arm and not settings.arms:
        raise EddyError("requests would be left to a default arm, but there is none; set EDDY_DEFAULT_ARM here and where routers run")
    _place(override, as_json=as_json)


def policy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A policy, as EDDY_POLICY names one; `default`: the settings' own again.")],
    query_class: Annotated[str, typer.Option("--class", metavar="CLASS", help="For one class alone.")] = ANY_CLASS,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let another policy decide than the one that the settings name, at once.

    Learning cycles say the same where another policy proves better; `eddy policy default` takes back both.
    """
    from stream.routing.contextual import NAME as CONTEXTUAL
    from stream.routing.registry import policy_named

    override = Override(kind="policy", query_class=query_class, policy=name, reason=reason, given_at=time.time())
    if name == DEFAULT_POLICY:
        _lift(override, as_json=as_json)
        return
    policy_named(name)
    if name == CONTEXTUAL and load_settings().policy != CONTEXTUAL:
        note("no model is fitted where EDDY_POLICY is another policy, so that contextual decides by its tables alone; set EDDY_POLICY=contextual at the learner for more")
    _place(override, as_json=as_json)


def _arm(name: str) -> Arm:
    try:
        arm = Arm.parse(name.strip())
    except ValueError as exc:
        raise EddyError(str(exc)) from exc
    if not arm.id:
        raise EddyError(f"arm {name!r} names nothing, but an arm is MODEL or MODEL|AGENT; `eddy routes` shows the arms there are")
    return arm


def _place(override: Override, *, as_json: bool) -> None:
    from stream.cli.sending import send_record

    settings = load_settings()
    run(send_record(settings, OVERRIDES.name, override.key, override))
    _done(override.key, "stands", as_json=as_json)
    with suppress(EddyError):  # the override stands, whatever can be said of it
        for doubt in run(_doubts(settings, override)):
            note(doubt)


async def _doubts(settings: Settings, override: Override) -> list[str]:
    """Say which names may be mistyped."""
    from stream.cli.routes import read_overview

    classes = (await read_overview(settings)).report()["classes"]
    counted = {name for entry in classes.values() for name, arm in entry["arms"].items() if arm["count"]}
    known = [Arm.parse(name) for name in counted | {arm.id for arm in settings.arms} | {settings.default_arm}]
    doubts = []
    if override.query_class not in {"*", *classes}:
        doubts.append(f"no trace of class {override.query_class} has been counted so far; `eddy routes` shows the classes there are")
    if override.arm is not None and not _is_among(override.arm, known, settings.arm_fields):
        doubts.append(f"no trace of arm {override.arm.id} has been counted so far, and eddy.toml does not declare it; `eddy routes` shows the arms there are")
    return doubts


def _is_among(arm: Arm, known: list[Arm], routed: tuple[str, ...]) -> bool:
    named = [field for field in routed if getattr(arm, field)]
    return bool(named) and any(all(getattr(arm, field) == getattr(one, field) for field in named) for one in known)


def _lift(override: Override, *, as_json: bool) -> None:
    from stream.cli.sending import send_record

    run(send_record(load_settings(), OVERRIDES.name, override.key, None))
    _done(override.key, "is lifted", as_json=as_json)


def _done(key: str, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"override": key, "standing": what == "stands"})
    else:
        note(f"the override {key} {what}; routers follow with their next update")
