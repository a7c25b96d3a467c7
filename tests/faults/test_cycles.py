"""Killing learning cycles, in the short form that a test run has time for."""

from pathlib import Path

import pytest

from stream.cycles.states import STEPS
from tests.faults.cycles import run

pytestmark = pytest.mark.slow


def test_cycle_killed_in_any_step_leaves_the_old_or_the_new_configuration_and_ends(tmp_path: Path) -> None:
    """One SIGKILL in each of the eight steps, at a moment drawn from all its calls; `python -m tests.faults.cycles` does ten in each."""
    outcome = run(len(STEPS), seed=1, folder=tmp_path)

    assert (outcome.kills, outcome.mismatches, outcome.unfinished) == (len(STEPS), [], 0)
