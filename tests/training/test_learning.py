"""Learning is real: SQL that a tiny base has learned from nothing gets better with an adapter, on queries that neither has seen; nonsense does not get past the gate."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.training_learning import FILE, adapt, pretrain, shuffled, thirds
from stream.learning.gate import Scores, judge

DATA = Path(os.environ.get("EDDY_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (DATA / FILE).exists():
        pytest.skip(f"needs {FILE} in {DATA}: set EDDY_DATA to the folder of the recorded runs")
    return pretrain(tmp_path_factory.mktemp("base") / "sql", thirds(DATA)[0], print)


@pytest.mark.slow
def test_adapter_learns_what_the_base_does_not_know(base: Path, tmp_path: Path) -> None:
    """Trained on a second third of the queries, measured on the last: the loss on answers falls by at least 15 %, and more of their tokens are right."""
    first, second, last = thirds(DATA)

    result = adapt(base, tmp_path, second, first, last, print)

    low, mid, high = result["token_accuracy"]["gain"]
    assert result["held_out_loss_after"] <= 0.85 * result["held_out_loss_before"]
    assert 0 < low < mid < high


@pytest.mark.slow
def test_adapter_of_shuffled_answers_is_rejected(base: Path, tmp_path: Path) -> None:
    """The same pairs, each question with another one's answer: what SQL looks like is learned, and no answer gets better."""
    _, second, last = thirds(DATA)

    assert verdict(adapt(base, tmp_path, shuffled(second), (), last, print, num_epochs=2)) == "reject"


def verdict(result: dict) -> str:
    scores = result["scores"]
    return judge(Scores(by_id=scores["base"]), Scores(by_id=scores["adapter"]), alpha=0.05, max_pairs=len(scores["base"])).verdict
