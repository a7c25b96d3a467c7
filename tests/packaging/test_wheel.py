"""The wheel as a user gets it: installed in an environment of its own, beside a package that is called `agents` too."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream import leash
from stream.broker import free_port
from tests.readme import CHECKOUT, client_program

WITHIN_S = 60.0

PROBE = """
import agents, stream.agents, stream.tables
print(agents.__file__, stream.agents.__file__, stream.tables.__file__, agents.Runner.__module__, sep="\\n")
"""


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=300, **options)


def checked(*command: object, **options: object) -> str:
    done = run(*command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    checked(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=CHECKOUT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel, all it needs and openai-agents; installed by uv, which is quicker than pip."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    checked(*uv, "venv", "--python", sys.executable, folder)
    checked(*uv, "pip", "install", "--python", folder / "bin/python", "--require-hashes", "-r", CHECKOUT / "requirements/beside.lock")
    checked(*uv, "pip", "install", "--python", folder / "bin/python", "--no-deps", wheel)
    return folder / "bin"


def test_wheel_holds_every_file_once(wheel: Path) -> None:
    """agents/ and tables/ are reached over symlinks: the wheel must hold them as parts of stream, each file once, none at the top."""
    names = zipfile.ZipFile(wheel).namelist()
    tracked = checked("git", "ls-files", "stream", "agents", "tables", cwd=CHECKOUT).split()
    expected = {path if path.startswith("stream/") else f"stream/{path}" for path in tracked if (CHECKOUT / path).is_file()}

    packaged = [name for name in names if ".dist-info/" not in name]

    assert {name.split("/")[0] for name in packaged} == {"stream"}
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert expected - set(packaged) == set()
    assert [name for name in packaged if name.endswith(".pyc")] == []


@pytest.mark.slow
def test_wheel_runs_beside_openai_agents(environment: Path, tmp_path: Path) -> None:
    """openai-agents puts a package `agents` into site-packages: neither may hide the other."""
    theirs, ours, tables, runner = checked(environment / "python", "-c", PROBE, cwd=tmp_path).split()

    assert theirs.endswith("/site-packages/agents/__init__.py")
    assert ours.endswith("/site-packages/stream/agents/__init__.py")
    assert tables.endswith("/site-packages/stream/tables/__init__.py")
    assert runner.startswith("agents.")


@pytest.mark.slow
def test_installed_command_helps_and_diagnoses(environment: Path, tmp_path: Path) -> None:
    """A first user types these two: help must list the commands, and the doctor must say what is missing and fail."""
    help_text = checked(environment / "eddy", "--help", cwd=tmp_path)
    diagnosis = run(environment / "eddy", "doctor", "--json", cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "EDDY_BOOTSTRAP": "127.0.0.1:1"})

    assert "publish" in help_text
    assert diagnosis.returncode == 1, diagnosis.stdout + diagnosis.stderr
    assert "127.0.0.1:1" in json.dumps(json.loads(diagnosis.stdout))


@pytest.fixture
def up(environment: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """An `eddy up` of the installed package in an empty folder, and the environment of a user beside it; both ports are free ones."""
    environ = {"PATH": f"{environment}:/usr/bin:/bin", "HOME": str(tmp_path), "EDDY_WORKER_PORT": str(free_port()), "EDDY_LEARNER_PORT": str(free_port())}
    with (tmp_path / "up.log").open("wb") as log:
        process = leash.start([str(environment / "eddy"), "up"], cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    yield process, environ | {"EDDY_BOOTSTRAP": said(tmp_path / "up.log", r"EDDY_BOOTSTRAP=(\S+)")}
    process.kill()
    process.wait()


def said(log: Path, pattern: str) -> str:
    """Wait until something has been said, and return the group of the pattern."""
    deadline_s = time.monotonic() + WITHIN_S
    while (match := re.search(pattern, log.read_text())) is None:
        assert time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.1)
    return match[1]


@pytest.mark.slow
def test_installed_loop_runs_the_readme_client_and_ends_in_order(environment: Path, up: tuple[subprocess.Popen[bytes], dict[str, str]], tmp_path: Path) -> None:
    """What the README promises must hold for whoever has the wheel and no checkout: `eddy up`, the client, the doctor, an end with status 0.

    The doctor may warn of a slow machine, and says of the extra that the wheel was installed without that it is not there; it must find nothing wrong.
    """
    process, environ = up

    client = run(environment / "python", "-c", client_program(), cwd=tmp_path, env=environ)
    deadline_s = time.monotonic() + WITHIN_S
    while (counted := json.loads(checked(environment / "eddy", "routes", "--json", cwd=tmp_path, env=environ))["traces"]) == 0 and time.monotonic() < deadline_s:
        time.sleep(0.3)
    doctor = json.loads(checked(environment / "eddy", "doctor", "--json", cwd=tmp_path, env=environ))
    process.send_signal(signal.SIGTERM)
    status = process.wait(WITHIN_S)

    checks = {check["name"]: check for check in doctor["checks"]}
    assert (client.returncode, client.stdout, client.stderr, counted, status) == (0, "", "", 1, 0), (tmp_path / "up.log").read_text()
    assert doctor["ok"] is True
    assert [checks[name]["state"] for name in ("topics", "clock", "fold", "extra worker", "extra embedded", "data folder")] == ["ok"] * 6
    assert "1 traces counted" in checks["fold"]["said"]
