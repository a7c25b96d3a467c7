"""Learning cycles as a person reads them: a row each, or step by step, or as they happen."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stream.cli.common import note, plain
from stream.cycles.history import History, Told
from stream.cycles.states import STEPS, State

if TYPE_CHECKING:
    from stream.topic_reader import TopicReader

NOBODY_S = 15.0
"""After so long without a step it is said that there may be no learner: one takes a request within a second, and a restarted one within its session."""
DOING = {
    State.REQUESTED: "reading what is new in the archive",
    State.MINED: "looking whether there is anything to learn from",
    State.CHECKED: "evaluating the live configuration",
    State.MEASURED: "looking for a better routing policy",
    State.ROUTED: "proposing configurations",
    State.CONFIGURED: "preparing an adapter",
    State.TRAINED: "evaluating the candidates",
    State.EVALUATED: "promoting or discarding each",
    State.SETTLED: "ending",
}
"""What is being done after each state."""


def row_of(told: Told) -> tuple[str, ...]:
    """Lay out a cycle as a row of the table."""
    standings = Counter(str(known.get("standing", "staged")) for known in told.candidates.values())
    asked = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.requested_at)) if told.requested_at else "–"
    said = told.detail.get("said") or (told.steps[-1]["detail"].get("said") if told.steps else "") or ""
    return told.cycle_id, asked, told.trigger, told.agent or "all", _state(told), ", ".join(f"{count} {name}" for name, count in standings.items()) or "–", str(said)


def _state(told: Told) -> str:
    if told.status:
        return told.status
    done = max((step["number"] for step in told.steps), default=0)
    return f"{plain(told.state)} ({done} of {len(STEPS)})"


def lines_of(told: Told) -> Iterator[str]:
    """Write a cycle out: its request, its steps, its candidates with their verdicts, its end."""
    yield f"cycle {plain(told.cycle_id)}, asked for {_when(told.requested_at)} by {plain(told.trigger) or 'somebody'}, for {plain(told.agent) or 'all agents'}"
    if told.evidence:
        seen = {name: value for name, value in told.evidence.items() if name != "counted"}  # which is for whoever counts on from here
        yield f"  because  {plain(json.dumps(seen, ensure_ascii=False))}"
    for step in told.steps:
        yield line_of(step)
    for name, known in told.candidates.items():
        yield f"  candidate {plain(name)}: {plain(str(known.get('standing', 'staged')))}"
        yield from (f"      {plain(str(known[key]), most=600)}" for key in ("said", "verdict", "why") if known.get(key))
    yield f"  ended {_when(told.ended_at)} as {plain(told.status)}: {plain(str(told.detail.get('said', '')), most=600)}" if told.status else f"  not ended; {_state(told)}"


def line_of(step: dict[str, Any]) -> str:
    """Write one step."""
    number = f"{step['number']}/{len(STEPS)}" if step["number"] else " – "
    return f"  {_clock(step['at'])}  {number}  {plain(step['step']):<11} {plain(str(step['detail'].get('said', '')), most=600)}"


async def follow(reader: TopicReader, cycle_id: str, *, quiet: bool) -> Told | None:
    """Tell the steps of a cycle as they come; returns it once it has ended or waits for a training job."""
    from rich.console import Console

    history, console = History(), Console(stderr=True, markup=False, highlight=False)
    began_s, warned = time.monotonic(), False
    with console.status("waiting for a learner") as status:
        if quiet or not console.is_terminal:
            status.stop()
        async for records in reader.follow():
            for record in records:
                told = history.take(record.value)
                if told is not None and told.cycle_id == cycle_id:
                    _tell(told, quiet=quiet)
                    status.update(f"{DOING.get(State(told.state), 'waiting') if told.state in set(State) else told.state} …")
            told = history.cycle(cycle_id)
            if told is not None and (told.status or told.state == State.WAITING):
                return told
            if not warned and (told is None or not told.steps) and time.monotonic() - began_s > NOBODY_S:
                warned = True
                note("no learner has taken it yet; `eddy up` or `eddy learner` runs one, and takes it when it comes (Ctrl-C leaves it asked for)")
            await asyncio.sleep(0)
    return None


def _tell(told: Told, *, quiet: bool) -> None:
    if quiet:
        return
    if told.status:
        print("\n".join(list(lines_of(told))[1 + bool(told.evidence) + len(told.steps) :]), flush=True)
    elif told.steps:
        print(line_of(told.steps[-1]), flush=True)
    else:
        print(f"cycle {plain(told.cycle_id)} is asked for", flush=True)


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "at a time that is no longer in the log"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
