"""`eddy cycle --dry-run`: the steps that only propose, on a ledger of their own, which goes at the end."""

from __future__ import annotations

import difflib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.cli.common import plain, print_json, run
from stream.cli.cycle_thresholds import lines_of, read_thresholds
from stream.cycles.ledger import Ledger
from stream.cycles.machine import Bench, Machine
from stream.cycles.plan import Plan
from stream.cycles.promoting import discard
from stream.cycles.states import STEPS as STATES
from stream.cycles.states import State
from stream.cycles.steps import STEPS
from stream.errors import EddyError
from stream.learning.evolving import live
from stream.records import CycleRequested

if TYPE_CHECKING:
    from stream.cycles.entries import Candidate
    from stream.settings import Settings

CYCLE = "dry-run"


def try_cycle(settings: Settings, agent: str, *, as_json: bool) -> None:
    """Show what a cycle would propose now, from the archive of this machine.

    Raises:
        EddyError: there is no archive here, or the cycle would fail.
    """
    plan = Plan.of(settings)
    if not plan.archive.exists():
        raise EddyError(f"there is no archive at {plan.archive}, but a cycle learns from it; run this where `eddy up` or `eddy learner` runs, or set EDDY_DATA_DIR")
    with tempfile.TemporaryDirectory(prefix="eddy-dry-run-") as folder:
        report = _tried(replace(plan, data_dir=Path(folder), evaluator=""), plan, agent) | {"thresholds": run(read_thresholds(settings, agent))}
    if as_json:
        print_json(report)
    else:
        _print(report)


def _tried(trial: Plan, plan: Plan, agent: str) -> dict[str, Any]:
    with Ledger(trial.ledger, time.time) as ledger:
        if plan.ledger.exists():
            with Ledger(plan.ledger, time.time) as real:
                ledger.put_marks(real.cursors())
        ledger.request(CycleRequested(cycle_id=CYCLE, trigger="dry run", requested_at=time.time(), agent=agent))
        state = Machine(Bench(trial, ledger, time.time), STEPS, discard).run(CYCLE, until=State.CONFIGURED)
        if state is State.ABORTED:
            raise EddyError(f"the cycle would end here: {ledger.detail(CYCLE, state).get('said')}")
        done = [step for step in (*STATES, State.SKIPPED) if step is not State.MEASURED and ledger.detail(CYCLE, step)]
        steps = [{"step": str(step), "number": step.number, **ledger.detail(CYCLE, step)} for step in done]
        return {"agent": agent, "evaluator": plan.evaluator, "steps": steps, "candidates": [_shown(plan, candidate) for candidate in ledger.candidates(CYCLE)]}


def _shown(plan: Plan, candidate: Candidate) -> dict[str, Any]:
    summary = candidate.detail.get("summary", "")
    if candidate.kind != "config":
        return {"name": candidate.name, "summary": summary}
    before = live.read(plan.config_dir, candidate.subject) or ""
    lines = difflib.unified_diff(before.splitlines(), candidate.detail["toml"].splitlines(), "live", "proposed", lineterm="")
    return {"name": candidate.name, "summary": summary, "diff": "\n".join(lines)}


def _print(report: dict[str, Any]) -> None:
    print("\n".join(lines_of(report["thresholds"])))
    for step in report["steps"]:
        print(f"  {step['number'] or '–'}/{len(STATES)}  {step['step']:<11} {plain(str(step['said']), most=600)}")
    for candidate in report["candidates"]:
        print(f"candidate {plain(candidate['name'])}: {plain(candidate['summary'], most=600)}")
        print("\n".join(f"    {plain(line, most=600)}" for line in candidate.get("diff", "").splitlines()))
    if report["candidates"]:
        judged = f"{report['evaluator']} would judge them" if report["evaluator"] else "nothing could judge them (set EDDY_EVALUATOR), so a cycle would only stage them"
        print(f"{judged}; nothing was changed")
    else:
        print("nothing would be proposed; nothing was changed")
