"""The part of the benchmarks that needs a card, on a processor and in small: that it runs when there is one."""

from __future__ import annotations

import math

import pytest

from benchmarks.training_gpu import shares
from benchmarks.training_learning import shuffled

TINY = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}


def test_card_benchmark_runs_in_small() -> None:
    """Without a card there is no matrix rate to be a share of."""
    found = shares("cpu", shape=TINY, count=6, batch_tokens=2048)

    assert found["tokens_per_s"] > 0
    assert math.isnan(found["mfu"])


@pytest.mark.parametrize("count", [2, 5, 8])
def test_shuffled_answers_are_all_wrong(count: int) -> None:
    """An answer that stays where it was would be something to learn."""
    pairs = [{"input": str(place), "output": str(place)} for place in range(count)]

    mixed = shuffled(pairs)

    assert all(pair["input"] != pair["output"] for pair in mixed)
    assert sorted(pair["output"] for pair in mixed) == [pair["output"] for pair in pairs]
