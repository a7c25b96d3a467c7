"""Where processes of one data folder serve: each under its own file, and none that has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream import metrics
from stream.addresses import address_file, running, write_address
from stream.health import HealthServer


def leave_behind(folder: Path, *, pid: int, port: int) -> None:
    """Write what a worker that was killed leaves."""
    write_address(folder / f"worker-{pid}.json", host="127.0.0.1", port=port)
    said = json.loads((folder / f"worker-{pid}.json").read_text())
    (folder / f"worker-{pid}.json").write_text(json.dumps(said | {"pid": pid}))


@pytest.fixture
def ended() -> int:
    """A process id that nobody has any more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_workers_of_one_folder_have_a_file_each(tmp_path: Path) -> None:
    """With one file for all, the last to start hid the others; this process and its parent stand for two workers."""
    leave_behind(tmp_path, pid=os.getppid(), port=1)
    write_address(address_file(tmp_path, "worker"), host="127.0.0.1", port=2)

    assert [address.url for address in running(tmp_path, "worker")] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert running(tmp_path, "learner") == []


def test_address_that_a_killed_worker_left_is_none(tmp_path: Path, ended: int) -> None:
    """Whoever asks there gets no answer, or somebody else's; the next worker takes the file away. What is no address at all is left out."""
    leave_behind(tmp_path, pid=ended, port=1)
    (tmp_path / "worker-x.json").write_text("half a")

    before = running(tmp_path, "worker")
    write_address(address_file(tmp_path, "worker"), host="127.0.0.1", port=2)

    assert before == []
    assert not (tmp_path / f"worker-{ended}.json").exists()
    assert [address.port for address in running(tmp_path, "worker")] == [2]


async def test_server_takes_its_address_away_when_it_stops(tmp_path: Path) -> None:
    """After an end in order nothing is left to be asked."""
    server = HealthServer(host="127.0.0.1", port=0, address_file=address_file(tmp_path, "worker"), is_live=str, is_ready=str, metrics=metrics.WORKER)
    await server.start()
    served = running(tmp_path, "worker")

    await server.stop()

    assert len(served) == 1
    assert list(tmp_path.iterdir()) == []
