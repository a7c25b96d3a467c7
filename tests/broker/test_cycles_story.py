"""The story of docs/cycles.md, told by the commands themselves: real agents' runs go in, a cycle is asked for, and what it changed is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream import leash
from stream.archive.reader import ArchiveReader
from stream.archive.schema import ARCHIVE_FILE
from stream.broker import remembered_port

pytestmark = [pytest.mark.embedded_only, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]
RUNS = Path(os.environ.get("EDDY_DATA", CHECKOUT.parent / "shared" / "data")) / "intercode_sql.traces.jsonl.gz"
RUNS_COUNT = 7_167
WITHIN_S = 90.0
BY_HAND = '# written by hand\n[agent]\nname = "react"\ntools = ["sql"]\nmax_turns = 2  # too few\nsystem_prompt = "Answer with SQL."\n'
SCORER = '''
def score(folder):
    """Whoever has more than two turns solves all of 300 tasks, others a third."""
    text = (folder / "react.toml").read_text()
    return {f"task-{n}": float("max_turns = 2 " not in text or n % 3 == 0) for n in range(300)}
'''


class Place:
    """A working folder with an evaluator in it, and the environment of whoever works there."""

    def __init__(self, folder: Path) -> None:
        self.data_dir, self.folder = folder / "data", folder
        self.config = self.data_dir / "agent_configs" / "react.toml"
        self.config.parent.mkdir(parents=True)
        self.config.write_text(BY_HAND)
        (folder / "scorer.py").write_text(SCORER)
        thresholds = '{"react": {"traces": 100000, "drop": 0.9}}'
        own = {"DATA_DIR": str(self.data_dir), "EVALUATOR": "scorer:score", "CYCLE_AGENTS": thresholds, "LEARNER_PORT": "0", "WORKER_PORT": "0", "PARTITIONS": "2"}
        self.environ = {**os.environ, "PYTHONPATH": f"{folder}:{CHECKOUT}", **{f"EDDY_{name}": value for name, value in own.items()}}

    @contextmanager
    def up(self) -> Iterator[None]:
        """Run the whole loop."""
        with (self.folder / "up.log").open("ab") as log:
            process = leash.start([sys.executable, "-m", "stream", "up"], env=self.environ, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            self.until(lambda: remembered_port(self.data_dir) is not None and (self.data_dir / "learner.json").exists())
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def eddy(self, *arguments: str, fails: bool = False) -> str:
        """Run a command; returns what it says."""
        said = subprocess.run([sys.executable, "-m", "stream", *arguments], env=self.environ, cwd=self.folder, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        assert bool(said.returncode) == fails, said.stdout + said.stderr
        return said.stderr if fails else said.stdout

    def until(self, holds: Any) -> None:
        """Wait until something holds."""
        deadline_s = time.monotonic() + WITHIN_S
        while not holds():
            assert time.monotonic() < deadline_s, (self.folder / "up.log").read_text()[-2_000:]
            time.sleep(0.3)

    def archived(self) -> int:
        """How many traces can be mined."""
        with ArchiveReader(self.data_dir / ARCHIVE_FILE) as reader:
            return reader.count()


@pytest.mark.skipif(not RUNS.exists(), reason=f"needs {RUNS.name}: put it into ../shared/data, or set EDDY_DATA to the folder that has it")
def test_cycle_learns_from_what_agents_did_and_shows_what_it_changed(tmp_path: Path) -> None:
    """7,167 runs of five agents on SQL tasks: the cycle proposes more turns for the agent that a person gave too few, proves that they help, and makes them live."""
    place = Place(tmp_path)
    with place.up():
        place.eddy("publish", str(RUNS))
        place.until(lambda: place.archived() == RUNS_COUNT)

        def tried() -> Any:
            return json.loads(place.eddy("cycle", "--dry-run", "--agent", "react", "--json"))

        with ArchiveReader(place.data_dir / ARCHIVE_FILE) as reader:
            runs = reader.count(agent="react")
        place.until(lambda: tried()["thresholds"][0]["value"] == runs)  # the totals have caught up with the archive
        trial = tried()
        new, drop = trial["thresholds"]
        assert (new["agent"], new["trigger"], new["threshold"], new["fires"]) == ("react", "new traces", 100_000, False)
        assert (drop["trigger"], drop["value"]) == ("feedback drop", 0.0)
        assert "of 100,000" in place.eddy("cycle", "--dry-run")
        (candidate,) = trial["candidates"]
        assert candidate["name"] == "config/react"
        assert "-max_turns = 2  # too few" in candidate["diff"]
        assert place.config.read_text() == BY_HAND

        told = json.loads(place.eddy("cycle", "--agent", "react", "--json"))
        assert told["status"] == "completed"
        assert [step["number"] for step in told["steps"] if step["number"]] == list(range(1, 9))
        assert place.config.read_text() != BY_HAND
        assert "# written by hand" in place.config.read_text()

        shown = place.eddy("cycles", "show", told["cycle_id"][:12])
        assert all(f"{number}/8" in shown for number in range(1, 9))
        assert "candidate config/react: promoted" in shown
        assert "Proven better" in shown
        assert told["cycle_id"] in place.eddy("cycles")

        changed = place.config.read_text()
        assert "-max_turns = 2  # too few" in place.eddy("configs", "diff", "react")
        (listed,) = json.loads(place.eddy("configs", "--json"))
        assert (listed["agent"], listed["version"], listed["provenance"]["cycle"]) == ("react", 2, told["cycle_id"])
        place.eddy("configs", "rollback", "react", "1", "--reason", "too slow")
        assert place.config.read_text() == BY_HAND
        assert json.loads(place.eddy("configs", "show", "react", "--version", "2", "--json"))["toml"] == changed
        assert json.loads(place.eddy("configs", "list", "--json"))[0]["version"] == 3
        assert "has no version 9" in place.eddy("configs", "rollback", "react", "9", fails=True)

        again = json.loads(place.eddy("cycle", "--agent", "react", "--json"))
        assert (again["status"], again["detail"]["said"]) == ("skipped", "there is no new trace and no new rating to learn from")
        assert "has ended as skipped" in place.eddy("cycles", "cancel", again["cycle_id"], fails=True)
        assert "held for a person's word" in place.eddy("cycles", "approve", told["cycle_id"], fails=True)
        assert "no cycle is named 'nobody'" in place.eddy("cycles", "show", "nobody", fails=True)
