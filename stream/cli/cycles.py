"""`eddy cycle` and `eddy cycles`: asking for a learning cycle, watching it, and a person's word on what it proposes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.common import FAILED, JsonOption, load_settings, note, print_json, print_table, run
from stream.errors import EddyError
from stream.records import CycleOrder, CycleRequested
from stream.topics import CYCLES

if TYPE_CHECKING:
    from stream.cycles.history import History, Told
    from stream.settings import Settings

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The cycle, as `eddy cycles` names it; its beginning is enough.")]
CandidateArgument = Annotated[str, typer.Argument(metavar="CANDIDATE", help="The candidate, as `eddy cycles show ID` names it; all that are held or are canaries when not given.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the word.")]
COLUMNS = ("cycle", "asked for", "why", "agent", "state", "candidates", "said")

cycles = typer.Typer(help="Learning cycles: what they did, step by step, and a person's word on what they propose.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(cycle)
    app.add_typer(cycles, name="cycles")


def cycle(
    agent: Annotated[str, typer.Option("--agent", help="Learn for this agent alone.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show where thresholds stand, and what a cycle would propose from this machine's archive; changes nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the cycle until it ends or waits for a training job.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Ask for a learning cycle, and follow it.

    The learner runs it; nothing is promoted that its gate does not let through.
    """
    settings = load_settings()
    if dry_run:
        from stream.cli.cycle_trial import try_cycle

        try_cycle(settings, agent, as_json=as_json)
        return
    asked = CycleRequested(cycle_id=new_id(time.time()), trigger="manual", requested_at=time.time(), agent=agent)
    told = run(_ask(settings, asked, wait=wait, quiet=as_json))
    if as_json:
        print_json(told.report() if told else {"cycle_id": asked.cycle_id, "state": "requested"})
    elif told is None:
        note(f"cycle {asked.cycle_id} is asked for; `eddy cycles show {asked.cycle_id}` says how far it is")
    if told is not None and told.status in ("aborted", "cancelled"):
        raise typer.Exit(FAILED)


@cycles.callback()
def show_all(
    context: typer.Context,
    as_json: JsonOption = False,
    most: Annotated[int, typer.Option("--most", min=1, help="How many are shown, the newest.")] = 20,
) -> None:
    """Show the newest cycles: why each was asked for, how it ended, what became of its candidates."""
    if context.invoked_subcommand is not None:
        return
    from stream.cli.cycle_lines import row_of

    newest = run(read_history(load_settings())).newest(most)
    if as_json:
        print_json([told.report() for told in newest])
    elif not newest:
        note("no learning cycle has been asked for yet; `eddy cycle` asks for one, and thresholds do when enough has come in")
    else:
        print_table(COLUMNS, map(row_of, newest), prose="said")


@cycles.command()
def show(cycle_id: IdArgument, as_json: JsonOption = False) -> None:
    """Show one cycle step by step, each candidate with its verdict and why."""
    from stream.cli.cycle_lines import lines_of

    told = _found(run(read_history(load_settings())), cycle_id)
    if as_json:
        print_json(told.report())
    else:
        print("\n".join(lines_of(told)))


@cycles.command()
def approve(cycle_id: IdArgument, candidate: CandidateArgument = "", reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Promote what a cycle holds for a person's word.

    Refused where the live configuration has changed since it was staged.
    """
    _order("approve", cycle_id, candidate, reason, as_json=as_json)


@cycles.command()
def discard(cycle_id: IdArgument, candidate: CandidateArgument = "", reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Throw away what a cycle holds for a person's word."""
    _order("discard", cycle_id, candidate, reason, as_json=as_json)


@cycles.command()
def cancel(cycle_id: IdArgument, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """End a cycle that has not ended; what it has promoted already stays."""
    settings = load_settings()
    told = _found(run(read_history(settings)), cycle_id)
    if told.status:
        raise EddyError(f"cycle {told.cycle_id} has ended as {told.status}, but only one that has not can be cancelled; `eddy configs rollback` takes back what it promoted")
    _send(settings, CycleOrder(cycle_id=told.cycle_id, order="cancel", given_at=time.time(), reason=reason), as_json=as_json)


def new_id(now_s: float) -> str:
    """Name a cycle that a person asks for: after the moment, so that two are two."""
    return f"manual-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now_s))}-{int(now_s % 1 * 1e6):06d}"


async def read_history(settings: Settings) -> History:
    """Read what `eddy.cycles` tells of cycles, to its end."""
    from stream.cycles.history import History
    from stream.topic_reader import reading

    history = History()
    async with reading(settings, CYCLES.name) as reader:
        async for record in reader.to_end():
            history.take(record.value)
    return history


async def _ask(settings: Settings, asked: CycleRequested, *, wait: bool, quiet: bool) -> Told | None:
    from stream.cli.cycle_lines import follow
    from stream.cli.sending import send_record
    from stream.topic_reader import reading

    async with reading(settings, CYCLES.name) as reader:
        await send_record(settings, CYCLES.name, asked.cycle_id, asked)
        return await follow(reader, asked.cycle_id, quiet=quiet) if wait else None


def _order(order: str, cycle_id: str, candidate: str, reason: str, *, as_json: bool) -> None:
    settings = load_settings()
    told = _found(run(read_history(settings)), cycle_id)
    undecided = [name for name, known in told.candidates.items() if known.get("standing") in ("held", "canary")]
    if not undecided or (candidate and candidate not in undecided):
        which = f"candidate {candidate} of cycle {told.cycle_id}" if candidate else f"no candidate of cycle {told.cycle_id}"
        raise EddyError(f"{which} {'is not' if candidate else 'is'} held for a person's word, nor a canary, but only such are {order}d; see `eddy cycles show {told.cycle_id}`")
    said = CycleOrder(cycle_id=told.cycle_id, order="approve" if order == "approve" else "discard", candidate=candidate, given_at=time.time(), reason=reason)
    _send(settings, said, as_json=as_json)


def _send(settings: Settings, said: CycleOrder, *, as_json: bool) -> None:
    from stream.cli.sending import send_record

    run(send_record(settings, CYCLES.name, said.cycle_id, said))
    if as_json:
        print_json({"cycle_id": said.cycle_id, "order": said.order, "candidate": said.candidate})
    else:
        note(f"the learner is told to {said.order} {said.candidate or 'cycle ' + said.cycle_id}; `eddy cycles show {said.cycle_id}` says what came of it")


def _found(history: History, cycle_id: str) -> Told:
    if (told := history.cycle(cycle_id)) is None:
        raise EddyError(f"no cycle is named {cycle_id!r}, nor does exactly one begin so, but {len(history)} are known; `eddy cycles` lists them")
    return told
