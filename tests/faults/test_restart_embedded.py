"""The restart of everything, in short; `python -m tests.faults.restart_embedded` does it at length."""

import pytest

from tests.faults.restart_embedded import run

pytestmark = [pytest.mark.slow, pytest.mark.embedded_only]


async def test_what_was_archived_is_there_again_after_everything_was_killed(tmp_path):
    """The embedded broker forgets all when it dies; three times, what the archive holds must make the loop what it was."""
    result = await run(1_500, 21, tmp_path)
    assert result["mismatches"] == 0
