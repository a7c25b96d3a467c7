"""The golden log folds to the state that the oracle gave for this version of the fold."""

from __future__ import annotations

import json

import pytest

from stream.fold.fold import fold
from stream.fold.spec import FOLD_VERSION
from stream.fold.state import PartitionState
from stream.reading.query_class import classify_query
from tests.golden.log import EXPECTED, LOG, SPECS, read_log, sha256


@pytest.mark.parametrize("name", SPECS)
def test_golden_log_folds_to_the_recorded_state(name: str) -> None:
    """A change of the fold that ends in another state must raise FOLD_VERSION, so that the log is folded anew; then `python -m tests.golden`."""
    expected = json.loads(EXPECTED.read_text())
    state, log = PartitionState(0, SPECS[name]), read_log(LOG.read_text())

    state.skip_hole(log[0].offset)
    fold(state, log, classify_query)

    assert expected["fold_version"] == FOLD_VERSION
    assert state.canonical()["counters"] == expected[name]["counters"]
    assert sha256(state.canonical()) == expected[name]["sha256"]
