"""Kills the process of a learning cycle at each of its eight steps, and holds the live configuration against what it was and what it is to become.

    python -m tests.faults.cycles --kills 80

Every kill is a SIGKILL that the process sends itself at a moment drawn from all calls that the step makes, the ones that write, move and sync files
among them: how many there are is counted in a run that is not killed. After each kill the live files must be exactly the old or exactly the new
ones; then the next process goes on, as the learner would have it do, and the cycle must end with exactly the new ones, announced once.
The last line is JSON; the exit status is 0 only where there is no mismatch and every cycle has ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cycle import archive_rows
from stream.cycles import plan as plans
from stream.cycles.child import work
from stream.cycles.entries import Cycle
from stream.cycles.ledger import Ledger
from stream.cycles.machine import Bench, Done
from stream.cycles.states import STEPS, State
from stream.cycles.steps import STEPS as FUNCTIONS
from stream.learning.evolving import live
from stream.records import CycleRequested
from stream.settings import load
from stream.topics import AGENT_CONFIGS

TRACES = 1_500
MOST_RUNS = 4
"""Processes after a kill until the cycle must have ended: one is enough."""
TIMEOUT_S = 120.0
CYCLE = "c1"
BY_HAND = '# written by hand\n[agent]\nname = "{agent}"\ntools = ["browser"]   # until now\nmax_turns = 3\nsystem_prompt = "Answer {agent}\'s questions."\n'


def score(folder: Path) -> dict[str, float]:
    """Evaluate a configuration: hand-written ones fail at two samples in three, others at none; so every candidate is let through."""
    by_hand = sum("browser" in path.read_text() for path in live.files(folder))
    return {f"s{number}": float(number % 3 == 0 or number % 5 >= by_hand) for number in range(400)}


class Killer:
    """Counts the calls of a step, and kills its process at one of them.

    Args:
        step: its number; 0: each of them.
        at: the call at which it kills; 0: it only counts.
    """

    def __init__(self, step: int, at: int) -> None:
        self._step, self._at = step, at
        self._number = 0
        self.calls: Counter[int] = Counter()

    def arm(self) -> None:
        """Watch the step: from when it is begun to when the one after it is, so that its own note in the ledger is within."""
        for source, function in list(FUNCTIONS.items()):
            number = len(STEPS) if source is State.SETTLED else (State.REQUESTED, *STEPS).index(source) + 1 if source is not State.WAITING else State.TRAINED.number
            FUNCTIONS[source] = self._watched(function, number)  # type: ignore[index]

    def _watched(self, function: Any, number: int) -> Any:
        def step(bench: Bench, cycle: Cycle) -> Done | None:
            self._number = number
            sys.setprofile(self._count if self._step in (0, number) else None)
            return function(bench, cycle)

        return step

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        self.calls[self._number] += 1
        if self.calls[self._number] == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def run_armed(step: int, at: int) -> None:
    """Be the process of a cycle, and the one that kills it."""
    killer = Killer(step, at)
    killer.arm()
    work(plans.decode(sys.stdin.read()), CYCLE)
    sys.setprofile(None)
    print(json.dumps({"calls": killer.calls}))


@dataclass(slots=True)
class Outcome:
    """What the run has found."""

    kills: int = 0
    mismatches: list[str] = field(default_factory=list)
    unfinished: int = 0

    def miss(self, what: str) -> None:
        """Note a mismatch, and say it."""
        self.mismatches.append(what)
        print(f"MISMATCH {what}", flush=True)


class Deployment:
    """A data folder with traces, hand-written configurations and a cycle that is asked for.

    Args:
        folder: where it stands.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = plans.Plan.of(load(data_dir=folder, evaluator="tests.faults.cycles:score"))

    async def make(self) -> None:
        """Make it."""
        await archive_rows(self.folder, 0, TRACES)
        self.plan.config_dir.mkdir(parents=True)
        for agent in ("researcher", "coder"):
            (self.plan.config_dir / f"{agent}.toml").write_text(BY_HAND.format(agent=agent))
        with Ledger(self.plan.ledger, time.time) as ledger:
            ledger.request(CycleRequested(cycle_id=CYCLE, trigger="manual", requested_at=1.0))

    def copy(self, folder: Path) -> Deployment:
        """Make another one that is the same."""
        shutil.copytree(self.folder, folder)
        return Deployment(folder)

    def process(self, step: int = 0, at: int = 0) -> tuple[int, dict[int, int]]:
        """Have a process go on with the cycle; returns its status and the calls that were counted."""
        command = [sys.executable, "-m", "tests.faults.cycles", "--child", str(step), str(at)]
        ended = subprocess.run(command, input=plans.encode(self.plan), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        with (self.folder / "child.log").open("a") as log:
            log.write(ended.stderr)
        calls = json.loads(ended.stdout.splitlines()[-1])["calls"] if ended.returncode == 0 else {}
        return ended.returncode, {int(number): count for number, count in calls.items()}

    def files(self) -> dict[str, bytes]:
        """The live configuration, and with `.history/` before their names the versions before it."""
        config_dir = self.plan.config_dir
        return {str(path.relative_to(config_dir)): path.read_bytes() for path in config_dir.rglob("*.toml")}

    def state(self) -> State:
        """How far the cycle is."""
        with Ledger(self.plan.ledger, time.time) as ledger:
            return ledger.cycle(CYCLE).state

    def announced(self) -> dict[str, list[str]]:
        """What is to be sent of each agent."""
        with Ledger(self.plan.ledger, time.time) as ledger:
            found: dict[str, list[str]] = {}
            for message in ledger.unsent(1_000):
                said = json.loads(message.value or "{}")
                if message.topic == AGENT_CONFIGS.name and said and not said.get("trial"):  # a trial, or its end, tells nobody what is live
                    found.setdefault(message.key, []).append(said["toml"])
            return found


def kill_once(template: Deployment, new: dict[str, bytes], step: int, at: int, folder: Path, outcome: Outcome) -> None:
    """Kill a cycle at a call of a step, look, go on, look again."""
    here, old = template.copy(folder), template.files()
    name = f"step {step}, call {at}"
    status, _ = here.process(step, at)
    if status == 0 and at > 1:  # the step made fewer calls than when they were counted: a collection of garbage less, a file that is cached
        shutil.rmtree(folder)
        kill_once(template, new, step, at - at // 8 - 1, folder, outcome)
        return
    if status != -signal.SIGKILL:
        outcome.miss(f"{name}: the process ended with status {status} and was not killed; see {folder}")
        return
    outcome.kills += 1
    for agent, text in here.files().items():
        if text not in (old.get(agent), new.get(agent)):
            outcome.miss(f"{name}: {agent} is neither the old nor the new one after the kill")
    for _ in range(MOST_RUNS):
        if here.state().is_end:
            break
        here.process()
    _hold(here, new, name, outcome)
    if not outcome.mismatches:
        shutil.rmtree(folder)


def _hold(here: Deployment, new: dict[str, bytes], name: str, outcome: Outcome) -> None:
    """Hold a cycle that went on after its kill against one that was not killed."""
    if not (state := here.state()).is_end:
        outcome.unfinished += 1
        print(f"UNFINISHED {name}: the cycle is {state}", flush=True)
    elif here.files() != new or state is not State.COMPLETED:
        outcome.miss(f"{name}: the cycle is {state}, and the configuration, with its history, is not the new one")
    elif {f"{agent}.toml": [text.encode() for text in texts] for agent, texts in here.announced().items()} != {
        path: [text] for path, text in new.items() if "/" not in path
    }:
        outcome.miss(f"{name}: what is announced is not each new configuration once: {[(agent, len(texts)) for agent, texts in here.announced().items()]}")


def run(kills: int, seed: int, folder: Path) -> Outcome:
    """Kill so often, at each step equally often."""
    template, outcome, rng = Deployment(folder / "template"), Outcome(), random.Random(seed)
    asyncio.run(template.make())
    whole = template.copy(folder / "whole")
    status, calls = whole.process()
    new = whole.files()
    if status or whole.state() is not State.COMPLETED:
        raise RuntimeError(f"a cycle that nobody kills ended as {whole.state()}, status {status}; see {whole.folder}")
    if new == template.files():
        raise RuntimeError(f"the cycle changes nothing, so that no kill can show anything; see {folder}")
    print(f"seed {seed}; calls in each step: {calls}", flush=True)
    for number in range(kills):
        step = number % len(STEPS) + 1
        at = rng.randint(1, calls[step])
        kill_once(template, new, step, at, folder / f"kill-{number}", outcome)
        print(f"kill {number + 1} of {kills}: step {step}, call {at} of {calls[step]}; {len(outcome.mismatches)} mismatches", flush=True)
    return outcome


def main() -> None:
    """Run, print the last line, and end with what it says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.cycles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=80, help="in all; at each step equally often")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--child", type=int, nargs=2, metavar=("STEP", "CALL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_armed(*options.child)
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="eddy-cycles-"))
    outcome = run(options.kills, options.seed, folder)
    if outcome.mismatches or outcome.unfinished:
        print(f"not as it should be; {folder} holds what is left", flush=True)
    elif options.folder is None:
        shutil.rmtree(folder)
    print(json.dumps({"kills": outcome.kills, "mismatches": len(outcome.mismatches), "unfinished": outcome.unfinished}))
    sys.exit(1 if outcome.mismatches or outcome.unfinished or outcome.kills < options.kills else 0)


if __name__ == "__main__":
    main()
