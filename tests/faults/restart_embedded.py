"""Kills the whole embedded loop three times, broker and all, and holds what comes back against what was there: for all that was archived, the same.

    python -m tests.faults.restart_embedded

The log is the one of the other fault runs, so that after every restart feedback and duplicates reach traces from before it. Before the
second kill the learner stands still while the log grows: what it had not archived is gone, and exactly that.
The last line is JSON; the exit status is 0 only when nothing differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from stream import leash
from stream.broker import remembered_port
from stream.draining import is_drained
from stream.fold.spec import FoldSpec
from stream.records import Arm, Override, PartitionStatistics
from stream.settings import Settings
from stream.topics import OVERRIDES, ROUTING, TRACES
from tests.faults import compare
from tests.faults.folding import fold_slowly
from tests.faults.judge import look_at_routes, settled, standing_totals
from tests.faults.publish import send_one
from tests.faults.readback import Stood, newest, read_all, true_ends
from tests.faults.run import Publisher, environ_of, settings_for
from tests.faults.workers import Worker, say

READY_S = 120.0
DRAIN_S = 180.0
OF_THE_LOG_ITSELF = ("base", "epoch", "epoch_start", "record_hash")
"""What a state says of the broker's log rather than of what was learned; differs once the log was made anew."""
MOVED = 0.02
"""Less than this, and the owner of the routing may leave a probability as it was published."""
PIN = Override(kind="pin", query_class="team-01", arm=Arm(model="gpt-4"), reason="held over restarts", given_at=1.7e9)


class Loop:
    """`eddy up` on one data folder, over all its lives.

    Args:
        folder: its data folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._worker = Worker("up", folder, {})

    async def start(self) -> float:
        """Start it; returns the seconds until it is ready for clients."""
        began = time.monotonic()
        environ = os.environ | environ_of(settings_for("unused:1")) | {"EDDY_DATA_DIR": str(self.folder), "EDDY_WORKER_PORT": "0", "EDDY_LEARNER_PORT": "0"}
        environ.pop("EDDY_BOOTSTRAP")
        with (self.folder / "up.log").open("ab") as log:
            command = [sys.executable, "-m", "stream", "up", "--data-dir", str(self.folder)]
            self._process = leash.start(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        while not await self._worker.is_ready():
            if self._process.poll() is not None or time.monotonic() - began > READY_S:
                raise TimeoutError(f"`eddy up` is not ready after {time.monotonic() - began:.0f} s (exit status {self._process.poll()}); see {self.folder / 'up.log'}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    @property
    def settings(self) -> Settings:
        """How its broker is reached."""
        return settings_for(f"127.0.0.1:{remembered_port(self.folder)}", data_dir=self.folder)

    async def states(self) -> dict[int, Any]:
        """The canonical state of every partition that the worker holds."""
        return {int(number): state for number, state in ((await self._worker.states()) or {}).items()}

    def kill(self) -> None:
        """SIGKILL to everything at once: supervisor, broker, worker, learner."""
        if self._process is None:
            return
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)
        self._process.wait()

    def stop_learner(self) -> None:
        """SIGSTOP to the learner: nothing is archived any more."""
        (learner,) = [process for process in self._family() if "learner" in process.cmdline()]
        learner.send_signal(signal.SIGSTOP)

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        supervisor = psutil.Process(self._process.pid)
        return [supervisor, *supervisor.children(recursive=True)]


@dataclass(slots=True)
class History:
    """The log of all lives, by logical offset, as the killed brokers held it."""

    partitions: dict[int, dict[int, Stood]] = field(default_factory=dict)

    def take(self, log: Mapping[int, list[Stood]], bases: Mapping[int, int]) -> list[str]:
        """Add what a broker holds; what it was given back must be what had stood there."""
        faults = []
        for number, records in log.items():
            known = self.partitions.setdefault(number, {})
            for record in records:
                logical = record.offset + bases[number]
                before = known.setdefault(logical, record._replace(offset=logical))
                if (before.key, before.value, before.timestamp) != (record.key, record.value, record.timestamp):
                    faults.append(f"partition {number}: another record stands at {logical} than before the restart")
        return faults[:5]

    def cut(self, ends: Mapping[int, int]) -> None:
        """Forget what is beyond the given logical offsets: it was never archived, and is gone."""
        self.partitions = {number: {offset: record for offset, record in records.items() if offset <= ends[number]} for number, records in self.partitions.items()}

    @property
    def log(self) -> dict[int, list[Stood]]:
        """The log as one that was never made anew."""
        return {number: [records[offset] for offset in sorted(records)] for number, records in self.partitions.items()}


@dataclass(slots=True)
class Outcome:
    """What the run has found."""

    mismatches: list[str] = field(default_factory=list)
    restarts_s: list[float] = field(default_factory=list)
    _told: int = 0

    def tell(self, what: str) -> None:
        """Report progress, and every mismatch that is new."""
        say(f"{what} in {self.restarts_s[-1]:.2f} s; {len(self.mismatches)} mismatches so far")
        for fault in self.mismatches[self._told :][:20]:
            say(f"MISMATCH {fault}")
        self._told = len(self.mismatches)


async def run(traces: int, seed: int, folder: Path) -> dict[str, int | float]:
    """Do the run: publish a tenth and restart; publish on without the learner and restart; publish the rest and restart.

    Returns:
        The last line of the output.
    """
    loop, history, outcome = Loop(folder), History(), Outcome()
    say(f"seed {seed}, folder {folder}")
    try:
        await loop.start()
        publisher = Publisher(loop.settings, traces=traces, seed=seed, folder=folder, idempotent=False)
        publisher.start()
        await send_one(loop.settings, OVERRIDES.name, PIN.key.encode(), msgspec.json.encode(PIN))
        await publisher.reach(0.1)
        await restart(loop, history, outcome)
        await publisher.reach(0.4)
        await restart_unarchived(loop, history, outcome, publisher)
        await publisher.reach(1.0)
        await restart(loop, history, outcome)
        publisher.close()
    except TimeoutError as exc:
        outcome.mismatches.append(str(exc))
        say(f"MISMATCH {exc}")
    finally:
        loop.kill()
    times_s = [round(seconds, 2) for seconds in outcome.restarts_s] or [0.0]
    return {"mismatches": len(outcome.mismatches), "restart_s_1e4": times_s[0], "restart_s_1e5": times_s[-1]}


async def restart(loop: Loop, history: History, outcome: Outcome) -> None:
    """Kill everything once all is archived, start again, and compare."""
    outcome.mismatches += await settled(lambda: look_at_routes(loop.settings))
    await asyncio.sleep(loop.settings.routing_max_staleness_s + 1)  # revised feedback changes no count, and by then it is published
    await archived(loop)
    before = await look(loop)
    outcome.mismatches += history.take(await read_all(loop.settings, TRACES.name), before.bases)
    outcome.mismatches += compare_with_history(history, before.states, loop.settings)
    loop.kill()
    outcome.restarts_s.append(await loop.start())
    await drained(loop)
    outcome.mismatches += compare_with_history(history, (await look(loop)).states, loop.settings)
    outcome.mismatches += await settled(lambda: _compare_before(loop, before))
    outcome.tell("restarted")


async def restart_unarchived(loop: Loop, history: History, outcome: Outcome, publisher: Publisher) -> None:
    """Kill everything while the log is ahead of the archive: what was not archived is gone, and nothing else."""
    await archived(loop)
    ends = {number: state["offset"] for number, state in (await look(loop)).states.items()}
    loop.stop_learner()
    await publisher.reach(0.5)
    outcome.mismatches += history.take(await read_all(loop.settings, TRACES.name), (await look(loop)).bases)
    loop.kill()
    history.cut(ends)
    outcome.restarts_s.append(await loop.start())
    await drained(loop)
    outcome.mismatches += compare_with_history(history, (await look(loop)).states, loop.settings)
    outcome.tell("restarted without what was not archived")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a loop holds and publishes."""

    states: dict[int, Any]
    totals: dict[Any, Any]
    routes: dict[str, Any]
    overrides: dict[bytes, bytes | None]

    @property
    def bases(self) -> dict[int, int]:
        """Logical minus physical offset of every partition."""
        return {number: state["base"] for number, state in self.states.items()}


async def look(loop: Loop) -> Seen:
    """See what the loop holds, and what a fresh reader of its topics ends with."""
    totals = {place: _sums(total) for place, total in (await standing_totals(loop.settings)).items()}
    routes = {key.decode(): _decided(json.loads(record.value or b"")) for key, record in newest((await read_all(loop.settings, ROUTING.name)).get(0, [])).items()}
    overrides = {key: record.value for key, record in newest((await read_all(loop.settings, OVERRIDES.name)).get(0, [])).items()}
    return Seen(await loop.states(), totals, routes, overrides)


def _sums(total: PartitionStatistics) -> dict[str, Any]:
    """What a class has earned, whenever: the next owner publishes it at a later offset, where buckets have aged."""
    return {arm.arm.id: _named(compare.summed(arm.buckets)) for arm in total.arms}


def _decided(update: dict[str, Any]) -> dict[str, Any]:
    """What routers draw from: a restart may publish it again under a higher version."""
    return {arm["id"]: (arm["probability"], arm["state"], arm["count"], arm["rated_count"]) for arm in update["arms"]}


async def _compare_before(loop: Loop, before: Seen) -> list[str]:
    after = await look(loop)
    pairs = {"totals": (before.totals, after.totals), "overrides": (before.overrides, after.overrides)}
    faults = [f"{name} after the restart: {said}" for name, (left, right) in pairs.items() if (said := compare.difference(_named(left), _named(right)))]
    return faults + compare.compare_decisions(before.routes, after.routes, tolerance=MOVED)


def _named(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in values.items()}


def compare_with_history(history: History, states: Mapping[int, Any], settings: Settings) -> list[str]:
    """Compare states with the slow fold of everything that was ever archived."""
    expected = fold_slowly(history.log, FoldSpec.of(settings)).states
    return compare.compare_states({number: _learned(state) for number, state in expected.items()}, {number: _learned(state) for number, state in states.items()}, "the worker")


def _learned(state: Mapping[str, Any]) -> dict[str, Any]:
    learned = {name: value for name, value in compare.as_json(state).items() if name not in OF_THE_LOG_ITSELF}
    learned["counters"] = {name: value for name, value in learned["counters"].items() if name != "epochs"}
    return learned


async def drained(loop: Loop) -> None:
    """Wait until the worker holds every partition folded to the end of the log, forwards included."""
    deadline = time.monotonic() + DRAIN_S
    while True:
        ends = await true_ends(loop.settings, TRACES.name)
        if {number: state["offset"] + 1 - state["base"] for number, state in (await loop.states()).items()} == ends:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"the worker has not folded the log to its ends {ends} in {DRAIN_S:.0f} s; see {loop.folder / 'logs'}")
        await asyncio.sleep(0.5)


async def archived(loop: Loop) -> None:
    """Wait until the log is folded and the archive holds all of it, and all that was published on the way.

    Raises:
        TimeoutError: it does not.
    """
    await drained(loop)
    deadline = time.monotonic() + DRAIN_S
    while not await is_drained(loop.settings):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the archive does not hold all of the log after {DRAIN_S:.0f} s; see {loop.folder / 'logs'}")
        await asyncio.sleep(0.2)


def main() -> None:
    """Run, print the last line, and end with what it says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.restart_embedded", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="distinct traces; the first restart comes after a tenth of them")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="eddy-restart-"))
    folder.mkdir(parents=True, exist_ok=True)
    result = asyncio.run(run(options.records, options.seed, folder))
    if result["mismatches"]:
        say(f"not as it should be; {folder} holds the logs of all processes")
    elif options.folder is None:
        shutil.rmtree(folder)
    print(json.dumps(result))
    sys.exit(1 if result["mismatches"] else 0)


if __name__ == "__main__":
    main()
