"""What a run trains on and how fast, as pure functions: batches, the learning rate, replay, what is held out, names."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import TrainingDataError
from stream.training.adapters import next_name, stem_of
from stream.training.batching import padded_tokens, plan
from stream.training.config import Batching, LoRATrainingConfig
from stream.training.conversation import read_pair
from stream.training.replay import is_held_out, with_replay
from stream.training.schedule import share_of_peak

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=80)


@given(lengths=LENGTHS, batching=st.sampled_from(["tokens", "samples", "packed"]), accumulation=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_epoch_trains_every_sample_once(lengths: list[int], batching: Batching, accumulation: int, seed: int) -> None:
    """However they are batched: a sample that is left out of an epoch is lost silently, one that comes twice weighs double."""
    laid = plan(lengths, LoRATrainingConfig(batching=batching, batch_tokens=512, gradient_accumulation_steps=accumulation, seed=seed, num_epochs=2))

    for begin, end in zip((0, *laid.epoch_ends), laid.epoch_ends, strict=False):
        assert sorted(place for step in laid.steps[begin:end] for batch in step for place in batch) == list(range(len(lengths)))


@given(lengths=LENGTHS)
def test_no_batch_is_above_the_budget(lengths: list[int]) -> None:
    """The budget is what fits into memory; only a sample that is larger by itself may exceed it, and is alone then."""
    tokens = plan(lengths, LoRATrainingConfig(batch_tokens=256, num_epochs=1))
    packed = plan(lengths, LoRATrainingConfig(batch_tokens=256, num_epochs=1, batching="packed"))

    assert [batch for step in tokens.steps for batch in step if padded_tokens(batch, lengths) > 256 and len(batch) > 1] == []
    assert [batch for step in packed.steps for batch in step if sum(lengths[place] for place in batch) > 256 and len(batch) > 1] == []


def test_batches_by_length_pad_little() -> None:
    """Lengths drawn evenly from 50 to 250, batches of about 25: by chance the longest of 25 is near 250 and the mean 150, so that 60 % are added; sorted, a fiftieth."""
    rng = random.Random(0)
    lengths = [rng.randint(50, 250) for _ in range(4_000)]

    laid = plan(lengths, LoRATrainingConfig(batch_tokens=4096, num_epochs=1))

    padded = sum(padded_tokens(batch, lengths) for step in laid.steps for batch in step)
    assert padded < 1.05 * sum(lengths)


def test_batches_of_samples_are_the_seeds_but_in_an_order_of_chance() -> None:
    """Ten pairs in batches of 4 are 3 steps an epoch, as the seed counted them; it kept the order, so that the last pairs always had the last word."""
    laid = plan([7] * 10, LoRATrainingConfig(batching="samples", batch_size=4, num_epochs=2))

    assert [[len(batch) for batch in step] for step in laid.steps] == [[4], [4], [2]] * 2
    assert laid.epoch_ends == [3, 6]
    assert laid.steps[0] != [[0, 1, 2, 3]]
    assert laid.steps[:3] != laid.steps[3:]


def test_order_hangs_on_the_seed_alone() -> None:
    """A resumed run lays the same plan again and goes on in it."""
    config = LoRATrainingConfig(seed=3)

    assert plan([5] * 50, config) == plan([5] * 50, config)
    assert plan([5] * 50, config) != plan([5] * 50, LoRATrainingConfig(seed=4))


def test_small_data_are_cut_into_enough_steps() -> None:
    """Sixteen short pairs fit into one batch of 8,192 tokens, but one step an epoch teaches nothing: by default there are eight."""
    assert len(plan([20] * 16, LoRATrainingConfig(num_epochs=1)).steps) == 8
    assert len(plan([20] * 3, LoRATrainingConfig(num_epochs=1)).steps) == 3


def test_max_steps_ends_the_plan() -> None:
    """The schedule is made for the steps that will be done, so the plan must know them."""
    laid = plan([5] * 40, LoRATrainingConfig(max_steps=11))

    assert (len(laid.steps), laid.epoch_ends) == (11, [8, 11])
    assert [laid.epoch_of(step) for step in (0, 7, 8, 10)] == [1, 1, 2, 2]


def test_learning_rate_rises_and_falls() -> None:
    """Ten steps, warm-up of .2: half, whole, then a half cosine over eight steps: 1, and after four of them 1/2; at the step after the last 0."""
    shares = [share_of_peak(step, total_steps=10, warmup_ratio=0.2, schedule="cosine") for step in range(11)]

    assert shares[:3] == [0.5, 1.0, 1.0]
    assert math.isclose(shares[6], 0.5)
    assert math.isclose(shares[10], 0.0, abs_tol=1e-12)
    assert shares[2:] == sorted(shares[2:], reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_no_step_is_without_effect(schedule: Any) -> None:
    """A first step with a rate of 0 would be a batch wasted."""
    assert all(0 < share_of_peak(step, total_steps=7, warmup_ratio=0.1, schedule=schedule) <= 1 for step in range(7))


def test_replay_share_is_of_all() -> None:
    """80 new pairs and a share of .2: 20 older ones, each once; with only 5 there, these."""
    older = [{"input": str(place)} for place in range(50)]

    mixed = with_replay([{}] * 80, older, share=0.2, rng=random.Random(1))

    assert len(mixed) == 100
    assert len({pair["input"] for pair in mixed[80:]}) == 20
    assert len(with_replay([{}] * 80, older[:5], share=0.2, rng=random.Random(1))) == 85


def test_one_query_is_held_out_always_or_never() -> None:
    """Evidence is split by query: however it is spaced or written, whatever was answered. 2,000 queries and a share of .1: 200 ± 6 deviations of 13."""
    held = [is_held_out(read_pair({"input": f"query {place}", "output": "a"}), 0.1) for place in range(2_000)]

    assert 120 < sum(held) < 280
    assert held == [is_held_out(read_pair({"input": f" Query   {place}", "output": "b"}), 0.1) for place in range(2_000)]
    assert not any(is_held_out(read_pair({"input": f"query {place}", "output": "a"}), 0.0) for place in range(100))


def test_tool_calls_come_in_one_form() -> None:
    """OpenAI's send arguments as text, traces as objects; templates write objects."""
    sent = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]}

    (message,) = read_pair({"messages": [sent]}).messages

    assert message == {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]}


def test_what_follows_the_last_answer_is_no_part() -> None:
    """Nothing in it is trained on."""
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "thanks"}]

    assert len(read_pair({"messages": messages}).messages) == 2


@pytest.mark.parametrize("pair", [{"messages": "text"}, {"messages": [1]}, {"input": 1, "output": "a"}, {"input": "a", "output": "b", "tools": ["f"]}])
def test_malformed_pair_is_refused(pair: dict[str, Any]) -> None:
    """A trace holds whatever somebody sent."""
    with pytest.raises(TrainingDataError):
        read_pair(pair)


def test_digest_knows_all_that_training_sees() -> None:
    """A resumed run must notice that its data are others; whose trace it was changes nothing."""
    pair = {"input": "q", "output": "a"}

    digests = {read_pair(pair).digest, read_pair({**pair, "output": "b"}).digest, read_pair({**pair, "tools": [{"name": "f"}]}).digest, read_pair({**pair, "system": "s"}).digest}

    assert len(digests) == 4
    assert read_pair({**pair, "trace_id": "1"}).digest == read_pair({**pair, "trace_id": "2"}).digest


def test_adapter_names_are_never_used_twice(tmp_path: Path) -> None:
    """A server that caches by name would answer with the old weights."""
    (tmp_path / "qwen3-0.6b-v2-00000000").mkdir()
    (tmp_path / "qwen3-0.6b-v10-00000000").mkdir()
    (tmp_path / "qwen3-0.6b-v99-extra").mkdir()

    assert next_name(tmp_path, "qwen3-0.6b", "ab" * 32) == "qwen3-0.6b-v11-abababab"
    assert next_name(tmp_path / "none", "m", "ab" * 32) == "m-v1-abababab"
    assert [stem_of(name) for name in ("Qwen/Qwen3-0.6B", "/models/My Model/", "..", "ü")] == ["qwen3-0.6b", "my-model", "model", "model"]
