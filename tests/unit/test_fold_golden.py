"""The golden log folds to the state that the oracle gave for this version of the fold."""

from __future__ import annotations

import json

from stream.fold.fold import fold
from stream.fold.spec import FOLD_VERSION, FoldSpec
from stream.fold.state import PartitionState
from stream.reading.query_class import classify_query
from tests.golden.log import EXPECTED, LOG, REWARDED, SPEC, read_log, sha256


def test_golden_log_folds_to_the_recorded_state() -> None:
    """A change of the fold that ends in another state must raise FOLD_VERSION, so that the log is folded anew; then `python -m tests.golden`."""
    expected = json.loads(EXPECTED.read_text())

    state, rewarded = (folded(spec) for spec in (SPEC, REWARDED))

    assert expected["fold_version"] == FOLD_VERSION
    assert state.canonical()["counters"] == expected["counters"]
    assert sha256(state.canonical()) == expected["sha256"]
    assert sha256(rewarded.canonical()) == expected["sha256_rewarded"]


def folded(spec: FoldSpec) -> PartitionState:
    state, log = PartitionState(0, spec), read_log(LOG.read_text())
    state.skip_hole(log[0].offset)
    fold(state, log, classify_query)
    return state
