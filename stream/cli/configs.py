"""`eddy configs`: the agents' configurations as they are live on this machine, what changed them, and the way back."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.common import JsonOption, load_settings, note, plain, print_json, print_table, run
from stream.cycles.plan import Plan
from stream.errors import EddyError
from stream.learning.evolving import live
from stream.records import AgentConfig
from stream.topics import AGENT_CONFIGS

if TYPE_CHECKING:
    from pathlib import Path

AgentArgument = Annotated[str, typer.Argument(metavar="AGENT", help="The agent, as `eddy configs` names it.")]
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
        print_table(("agent", "version", "since", "from"), ((each["agent"], str(each["version"]), each["since"], each["from"]) for each in found), prose="from")


@configs.command()
def show(agent: AgentArgument, version: Annotated[int | None, typer.Option("--version", min=1, help="An earlier one.")] = None, as_json: JsonOption = False) -> None:
    """Print a version of an agent's configuration; the live one when none is named."""
    folder = _folder()
    number = version or live.version(folder, agent)
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
    to = after or live.version(folder, agent)
    since = before or to - 1
    old = _text(folder, agent, since) if since else ""
    lines = list(difflib.unified_diff(old.splitlines(), _text(folder, agent, to).splitlines(), f"{agent} version {since}", f"{agent} version {to}", lineterm=""))
    if as_json:
        print_json({"agent": agent, "from": since, "to": to, "diff": "\n".join(lines), "provenance": live.provenance(folder, agent, to)})
    else:
        print("\n".join(plain(line, most=10_000) for line in lines) or f"versions {since} and {to} of {plain(agent)} are the same")


@configs.command()
def rollback(
    agent: AgentArgument,
    version: Annotated[int, typer.Argument(min=1, metavar="VERSION", help="The version that is to be live again, byte for byte.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the version.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an earlier version of an agent's configuration live again, as a new version, and tell whoever follows."""
    from stream.cli.sending import send_record

    settings = load_settings()
    plan = Plan.of(settings)
    text = _text(plan.config_dir, agent, version)
    number = _replaced(plan, agent, text, version, reason)
    run(send_record(settings, AGENT_CONFIGS.name, agent, AgentConfig(agent=agent, version=number, toml=text)))
    if as_json:
        print_json({"agent": agent, "version": number, "restored": version})
    else:
        note(f"version {number} of {plain(agent)} is live, the same as version {version}" if number != version else f"version {version} of {plain(agent)} is live already")


def _replaced(plan: Plan, agent: str, text: str, version: int, reason: str) -> int:
    """Make a version live, while no cycle does; returns the number of what is live then."""
    with _alone(plan):
        now = live.read(plan.config_dir, agent)
        if now == text:
            return live.version(plan.config_dir, agent)
        number = live.next_version(plan.config_dir, agent)
        live.replace(plan.config_dir, agent, text, version=number, before=live.digest(now), provenance={"rollback_to": version, "reason": reason, "at": time.time()})
        return number


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


def _text(folder: Path, agent: str, version: int) -> str:
    text = live.text_of(folder, agent, version) if live.NAME.fullmatch(agent) else None
    if text is None:
        newest = live.version(folder, agent) if live.NAME.fullmatch(agent) else 0
        there = f"only versions 1 to {newest} may be there" if newest else "it has none"
        raise EddyError(f"agent {agent!r} has no version {version} of its configuration in {folder}, but {there}; `eddy configs` lists the agents")
    return text


def _known(folder: Path, agent: str) -> dict[str, Any]:
    number = live.version(folder, agent)
    known = live.provenance(folder, agent, number)
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((folder / f"{agent}.toml").stat().st_mtime))
    return {"agent": agent, "version": number, "since": since, "from": _origin(known), "provenance": known}


def _origin(known: dict[str, Any]) -> str:
    """Say where a version came from."""
    if "cycle" in known:
        return f"cycle {known['cycle']}: {known.get('verdict', '')}"
    return f"rollback to version {known['rollback_to']}" if "rollback_to" in known else "a person's hand"
