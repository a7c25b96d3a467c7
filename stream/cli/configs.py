"""`eddy configs`: the agents' configurations as they are live on this machine, what changed them, and the way back."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.common import JsonOption, load_settings, note, plain, print_json, print_table, run, wide_console
from stream.cycles.plan import Plan
from stream.errors import EddyError
from stream.learning.evolving import live, pins
from stream.records import AgentConfig
from stream.topics import AGENT_CONFIGS

if TYPE_CHECKING:
    from pathlib import Path

    from stream.settings import Settings

AgentArgument = Annotated[str, typer.Argument(metavar="AGENT", help="The agent, as `eddy configs` names it.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with it.")]
LOCK_S, LOCK_LOOK_S = 30.0, 0.2
"""How long a rollback waits for a cycle's process to end, and how often it looks."""

configs = typer.Typer(help="The agents' configurations: versions, what changed, and the way back.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(configs, name="configs")


@configs.callback()
def show_all(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the agents with the version that is live, and where it came from."""
    if context.invoked_subcommand is None:
        list_all(as_json=as_json)


@configs.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """List the agents with the version that is live, and where it came from."""
    folder = _folder()
    found = [_known(folder, path.stem) for path in live.files(folder)]
    if as_json:
        print_json(found)
    elif not found:
        note(f"no agent has a configuration in {folder}; write AGENT.toml there, or let a learning cycle propose one (`eddy cycle --dry-run`)")
    else:
        rows = ((each["agent"], f"{each['version']}{' (pinned)' if each['pinned'] else ''}", each["since"], each["from"]) for each in found)
        print_table(("agent", "version", "since", "from"), rows, prose="from")


@configs.command()
def show(agent: AgentArgument, version: Annotated[int | None, typer.Option("--version", min=1, help="An earlier one.")] = None, as_json: JsonOption = False) -> None:
    """Print a version of an agent's configuration; the live one when none is named."""
    folder = _folder()
    number = version or live.version(folder, _named(folder, agent))
    text = _text(folder, agent, number)
    if as_json:
        print_json({"agent": agent, "version": number, "toml": text, "provenance": live.provenance(folder, agent, number)})
    else:
        print("\n".join(plain(line, most=10_000) for line in text.splitlines()))


@configs.command()
def diff(
    agent: AgentArgument,
    before: Annotated[int | None, typer.Option("--from", min=1, help="A version; the one before the other when not given.")] = None,
    after: Annotated[int | None, typer.Option("--to", min=1, help="A version; the live one when not given.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed between two versions of an agent's configuration."""
    folder = _folder()
    to = after or live.version(folder, _named(folder, agent))
    since = before or to - 1
    old = _text(folder, agent, since) if since else ""
    lines = list(difflib.unified_diff(old.splitlines(), _text(folder, agent, to).splitlines(), f"{agent} version {since}", f"{agent} version {to}", lineterm=""))
    if as_json:
        print_json({"agent": agent, "from": since, "to": to, "diff": "\n".join(lines), "provenance": live.provenance(folder, agent, to)})
    else:
        _print_diff(lines)
        if not lines:
            note(f"versions {since} and {to} of {plain(agent)} are the same")


@configs.command()
def rollback(
    agent: AgentArgument,
    version: Annotated[int, typer.Argument(min=1, metavar="VERSION", help="The version that is to be live again, byte for byte.")],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make an earlier version of an agent's configuration live again, as a new version, and tell whoever follows."""
    settings = load_settings()
    number = _replaced(Plan.of(settings), agent, version, reason)
    _announce(settings, Plan.of(settings).config_dir, agent, number)
    if as_json:
        print_json({"agent": agent, "version": number, "restored": version})
    else:
        note(f"version {number} of {plain(agent)} is live, the same as version {version}" if number != version else f"version {version} of {plain(agent)} is live already")


@configs.command()
def pin(
    agent: AgentArgument,
    version: Annotated[int | None, typer.Argument(min=1, metavar="VERSION", help="Make this one live first; what is live stays when not given.")] = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let no learning cycle change an agent's configuration; `eddy configs unpin AGENT` lifts it."""
    settings = load_settings()
    plan = Plan.of(settings)
    pinned_version = version or live.version(plan.config_dir, _named(plan.config_dir, agent))
    number = _replaced(plan, agent, pinned_version, reason)
    pins.pin(plan.config_dir, agent, reason=reason, at=time.time())
    if version:
        _announce(settings, plan.config_dir, agent, number)
    if as_json:
        print_json({"agent": agent, "version": number, "pinned": True})
    else:
        note(f"version {number} of {plain(agent)} is pinned: no cycle changes it")


@configs.command()
def unpin(agent: AgentArgument, as_json: JsonOption = False) -> None:
    """Let learning cycles change an agent's configuration again."""
    was_pinned = pins.unpin(_folder(), agent)
    if as_json:
        print_json({"agent": agent, "pinned": False, "was_pinned": was_pinned})
    else:
        note(f"{plain(agent)} is {'no longer' if was_pinned else 'not'} pinned")


def _replaced(plan: Plan, agent: str, version: int, reason: str) -> int:
    """Make a version live, while no cycle does; returns the number of what is live then."""
    text = _text(plan.config_dir, agent, version)
    with _alone(plan):
        return live.change(plan.config_dir, agent, lambda _: text, provenance={"rollback_to": version, "reason": reason, "at": time.time()})


def _announce(settings: Settings, folder: Path, agent: str, version: int) -> None:
    """Tell whoever follows; an agent elsewhere has what is live here only then."""
    from stream.cli.sending import send_record

    record = AgentConfig(agent=agent, version=version, toml=live.read(folder, agent) or "")
    try:
        run(send_record(settings, AGENT_CONFIGS.name, agent, record))
    except EddyError as exc:
        raise EddyError(f"version {version} of {agent} is live on this machine, but nobody else was told ({exc}); give the same command again when the broker answers") from exc


def _print_diff(lines: list[str]) -> None:
    """Print a diff: what goes in red, what comes in green, where there is a terminal."""
    from rich.text import Text

    console = wide_console()
    for line in lines:
        console.print(Text(plain(line, most=10_000), style=_STYLES.get(line[:1], "")), soft_wrap=True)


_STYLES = {"@": "cyan", "-": "red", "+": "green"}


@contextmanager
def _alone(plan: Plan) -> Iterator[None]:
    """Hold the lock of cycles; one that runs is waited for, for a while."""
    from stream.archive.schema import WriterLock
    from stream.errors import NotOwnedError

    deadline_s, lock = time.monotonic() + LOCK_S, None
    while lock is None:
        try:
            lock = WriterLock(plan.ledger)
        except NotOwnedError as exc:
            if time.monotonic() > deadline_s:
                raise EddyError(f"a learning cycle is at work ({exc}), but it may be promoting; cancel it with `eddy cycles cancel ID`, or try again when it has ended") from exc
            time.sleep(LOCK_LOOK_S)
    try:
        yield
    finally:
        lock.release()


def _folder() -> Path:
    return Plan.of(load_settings()).config_dir


def _named(folder: Path, agent: str) -> str:
    """Return an agent's name, where it has a configuration."""
    if live.NAME.fullmatch(agent) and (live.version(folder, agent) or live.kept(folder, agent)):
        return agent
    names = [path.stem for path in live.files(folder)]
    close = difflib.get_close_matches(agent, names, n=1)
    hint = f"did you mean {close[0]}?" if close else "`eddy configs` lists the agents"
    raise EddyError(f"agent {agent!r} has no configuration in {folder}, but only one that is there can be shown or changed; {hint}")


def _text(folder: Path, agent: str, version: int) -> str:
    text = live.text_of(folder, _named(folder, agent), version)
    if text is None:
        there = f"only versions 1 to {live.version(folder, agent)} may be there"
        raise EddyError(f"agent {agent!r} has no version {version} of its configuration in {folder}, but {there}; name one of them")
    return text


def _known(folder: Path, agent: str) -> dict[str, Any]:
    number = live.version(folder, agent)
    known = live.provenance(folder, agent, number)
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((folder / f"{agent}.toml").stat().st_mtime))
    return {"agent": agent, "version": number, "since": since, "from": _origin(known), "pinned": pins.pinned(folder, agent) is not None, "provenance": known}


def _origin(known: dict[str, Any]) -> str:
    """Say where a version came from."""
    if "cycle" in known:
        return f"cycle {known['cycle']}: {known.get('verdict', '')}"
    return f"rollback to version {known['rollback_to']}" if "rollback_to" in known else "a person's hand"
