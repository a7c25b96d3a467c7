"""`LoRATrainer` from pairs to an adapter: what it returns, writes, refuses, and how it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stream.errors import MissingExtraError, ModelMissingError, TrainingDataError, TrainingDivergedError, TrainingError
from stream.learning import LoRATrainer, LoRATrainingConfig
from stream.training import adapters
from stream.training.losses import Scorer, evaluate
from stream.training.progress import Progress
from stream.training.replay import is_held_out
from stream.training.schedule import share_of_peak
from tests.training.tiny import save_tiny

PAIRS = [{"input": f"What is {a}+{b}?", "output": f"It is {a + b}.", "trace_id": f"{a}+{b}", "feedback": 0.9} for a in range(8) for b in range(8)]
SUMMARY = {"status", "epochs", "total_steps", "avg_loss", "adapter_path", "training_samples"}
"""The seed's result keys."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "Tiny Llama", [f"{pair['input']} {pair['output']}" for pair in PAIRS], layers=1)


def config(folder: Path, **settings: Any) -> LoRATrainingConfig:
    return LoRATrainingConfig(**{"output_dir": str(folder / "adapters"), "learning_rate": 2e-3, "target_modules": "all-linear", "batch_tokens": 512, "lora_rank": 4} | settings)


def trainer(model: Path, folder: Path, **settings: Any) -> LoRATrainer:
    return LoRATrainer(config(folder, **settings), model_name=str(model), device="cpu")


def test_training_learns_and_says_what_it_did(model: Path, tmp_path: Path) -> None:
    """The seed's keys, and beside the weights a card that says where they come from; the losses on it are those of the adapter as it was written."""
    result = trainer(model, tmp_path).train(PAIRS)

    assert set(result) >= SUMMARY
    assert (result["status"], result["epochs"], result["stopped_by"]) == ("completed", 3, "epochs")
    assert result["held_out_loss_after"] < result["held_out_loss_before"] - 0.2
    written = adapters.read(Path(result["adapter_path"]))
    assert written.name.startswith("tiny-llama-v1-")
    assert written.card["base_model"]["name"] == str(model)
    assert {*written.card["trace_ids"], *written.card["held_out_trace_ids"]} == {pair["trace_id"] for pair in PAIRS}
    assert {*written.card["trace_ids"]} & {*written.card["held_out_trace_ids"]} == set()
    assert written.card["libraries"].keys() >= {"torch", "transformers", "peft"}
    assert {path.suffix for path in written.path.iterdir()} <= {".safetensors", ".json", ".jinja"}


def test_written_adapter_is_what_was_measured(model: Path, tmp_path: Path) -> None:
    """Loaded by peft alone, as a server would, it has the held-out loss that its card claims."""
    given = trainer(model, tmp_path)
    result = given.train(PAIRS)
    kept = [pair for pair, conversation in zip(PAIRS, given.dataset(PAIRS).conversations.values(), strict=True) if is_held_out(conversation, 0.1)]

    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), result["adapter_path"]).eval()

    assert evaluate(Scorer(loaded, "cpu"), given.dataset(kept).samples, 512).loss == pytest.approx(result["held_out_loss_after"], abs=1e-6)


def test_nothing_to_train_on_is_skipped(model: Path, tmp_path: Path) -> None:
    """As in the seed, without loading anything; pairs of which none can be used are an error that says why."""
    assert LoRATrainer(config(tmp_path), model_name="no/such-model").train([]) == {"status": "skipped", "reason": "no training data"}
    with pytest.raises(TrainingDataError, match="'no_answer': 2"):
        trainer(model, tmp_path).train([{"input": "a", "output": ""}] * 2)


def test_prepared_dataset_has_the_seeds_keys_and_no_padding(model: Path, tmp_path: Path) -> None:
    """Without padding: the seed filled every pair up to 2,048 tokens, and trained on the prompt."""
    (item,) = trainer(model, tmp_path).prepare_dataset(PAIRS[:1])

    assert item.keys() == {"input_ids", "attention_mask", "labels", "text"}
    assert item["input_ids"].shape == item["attention_mask"].shape == item["labels"].shape
    assert bool(item["attention_mask"].all())
    assert item["text"].startswith("<|im_start|>user\nWhat is 0+0?")


def test_same_seed_gives_the_same_adapter_and_no_name_twice(model: Path, tmp_path: Path) -> None:
    """A run can be had again; what it wrote before stays (the seed wrote over it)."""
    first, second = (trainer(model, tmp_path, max_steps=3).train(PAIRS) for _ in range(2))
    other = trainer(model, tmp_path, max_steps=3, seed=1).train(PAIRS)

    assert len({each["adapter"] for each in (first, second, other)}) == 3
    weights = [load_file(Path(each["adapter_path"]) / adapters.WEIGHTS) for each in (first, second, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_training_draws_nothing_of_its_callers_randomness(model: Path, tmp_path: Path) -> None:
    """A program that seeds torch and trains on the way gets the numbers it would have got."""
    before = torch.get_rng_state()

    trainer(model, tmp_path, max_steps=2).train(PAIRS)

    assert torch.equal(torch.get_rng_state(), before)


def test_name_of_the_callers_is_taken_once(model: Path, tmp_path: Path) -> None:
    """Whoever numbers adapters over machines gives the name; a path in it would be written anywhere."""
    given = trainer(model, tmp_path, max_steps=1)

    assert given.train(PAIRS, name="sql-v7")["adapter"] == "sql-v7"
    for name in ("sql-v7", "../sql-v8", ""):
        if name:
            with pytest.raises(TrainingError, match="never used twice"):
                given.train(PAIRS, name=name)


def test_learning_rate_follows_the_schedule(model: Path, tmp_path: Path) -> None:
    """The seed had a warm-up ratio that nothing read."""
    told: list[Progress] = []

    trainer(model, tmp_path, max_steps=10, warmup_ratio=0.3, schedule="linear").train(PAIRS, on_progress=told.append)

    rates = [each.learning_rate for each in told if each.step]
    assert rates == [2e-3 * share_of_peak(step, total_steps=10, warmup_ratio=0.3, schedule="linear") for step in range(10)]


def test_accumulated_batches_are_one_batch(model: Path, tmp_path: Path) -> None:
    """The loss is the mean over a step's tokens, not over its batches: answers of one and of forty tokens would else weigh the same."""
    uneven = [{"input": f"Say {place}", "output": "word " * (1 + 20 * (place % 2))} for place in range(8)]
    plain = {"batching": "samples", "lora_dropout": 0.0, "num_epochs": 1, "held_out_ratio": 0.0}

    whole = trainer(model, tmp_path, batch_size=8, **plain).train(uneven)
    parts = trainer(model, tmp_path, batch_size=2, gradient_accumulation_steps=4, **plain).train(uneven)

    assert parts["total_steps"] == whole["total_steps"] == 1
    assert parts["avg_loss"] == pytest.approx(whole["avg_loss"], rel=1e-6)
    weights = [load_file(Path(each["adapter_path"]) / adapters.WEIGHTS) for each in (whole, parts)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])


@pytest.mark.parametrize("settings", [{"batching": "packed"}, {"batching": "samples"}, {"use_dora": True}, {"gradient_checkpointing": False}, {"target_modules": ["q_proj"]}])
def test_settings_train(model: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Each learns something in a few steps; packed rows learn as much as padded ones."""
    result = trainer(model, tmp_path, max_steps=12, **settings).train(PAIRS)

    assert result["held_out_loss_after"] < result["held_out_loss_before"]


def test_run_without_gain_ends_early_with_the_best_adapter(model: Path, tmp_path: Path) -> None:
    """With a learning rate of 10^-12 no held-out loss is lower than the base's: after two evaluations it ends, and the adapter is the one before the first step."""
    result = trainer(model, tmp_path, learning_rate=1e-12, evaluate_every_n_steps=2).train(PAIRS)

    assert (result["stopped_by"], result["total_steps"]) == ("early_stopping", 4)
    assert result["held_out_loss_after"] == result["held_out_loss_before"]


def test_run_keeps_to_its_minutes(model: Path, tmp_path: Path) -> None:
    """The clock rises by a second at each look, there is one look before the first step and one after each: a tenth of a minute is six steps."""
    ticking: Iterator[int] = count()
    given = LoRATrainer(config(tmp_path, max_minutes=0.1), model_name=str(model), device="cpu", clock=lambda: float(next(ticking)))

    result = given.train(PAIRS)

    assert (result["stopped_by"], result["total_steps"], result["seconds"]) == ("max_minutes", 6, 6.0)


def test_loss_that_is_no_number_ends_the_run(model: Path, tmp_path: Path) -> None:
    """One weight of the base is not a number: no adapter may come of it."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = math.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(TrainingDivergedError, match="step 1 has a loss of nan"):
        trainer(broken, tmp_path, held_out_ratio=0.0).train(PAIRS)
    assert list(tmp_path.rglob("adapter.json")) == []


def test_older_pairs_are_mixed_in(model: Path, tmp_path: Path) -> None:
    """20 % of what is trained on, so that what was learned before is not forgotten; none of them where its query is held out."""
    older = [{**pair, "input": pair["input"].replace("What is", "How much is"), "trace_id": f"old {pair['trace_id']}"} for pair in PAIRS]

    result = trainer(model, tmp_path, max_steps=1).train(PAIRS, older=older, held_out=PAIRS[:4])

    card = adapters.read(Path(result["adapter_path"])).card
    assert sum(name.startswith("old ") for name in card["trace_ids"]) == 16
    assert result["training_samples"] == 60 + 16
    assert set(card["held_out_trace_ids"]) == {pair["trace_id"] for pair in PAIRS[:4]}


def test_answers_are_scored_with_and_without_the_adapter(model: Path, tmp_path: Path) -> None:
    """A lower loss promotes nothing: what is said is judged. A judge that likes short answers is told both."""
    result = trainer(model, tmp_path, max_steps=2).train(PAIRS, score=lambda answer, wanted: float(len(answer) < len(wanted)))

    answers = result["answers"]
    assert answers["n"] == len(adapters.read(Path(result["adapter_path"])).card["held_out_trace_ids"])
    assert answers["gain"][0] <= answers["adapter"] - answers["base"] <= answers["gain"][2]


@pytest.mark.parametrize(
    ("name", "says"),
    [("Qwen/No-Such-Model", "hf download Qwen/No-Such-Model"), ("/no/such/folder", "there is no folder /no/such/folder"), ("EMPTY", "config.json, tokenizer.json")],
)
def test_missing_model_says_how_to_get_it(tmp_path: Path, name: str, says: str) -> None:
    """No hub is asked here, and none may be reachable where training runs."""
    with pytest.raises(ModelMissingError, match=says):
        LoRATrainer(config(tmp_path), model_name=str(tmp_path) if name == "EMPTY" else name, device="cpu").train(PAIRS)


def test_pickled_weights_are_not_loaded(model: Path, tmp_path: Path) -> None:
    """A pickle runs what its writer likes."""
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            (pickled / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(model / "model.safetensors"), pickled / "pytorch_model.bin")

    with pytest.raises(ModelMissingError, match=r"\*\.safetensors"):
        trainer(pickled, tmp_path).train(PAIRS)


def test_what_cannot_be_had_is_said(model: Path, tmp_path: Path) -> None:
    """A setting that is ignored silently costs a night: the seed fell back to bf16 without a word."""
    with pytest.raises(MissingExtraError, match="bitsandbytes"):
        trainer(model, tmp_path, use_4bit=True).train(PAIRS)
    with pytest.raises(TrainingError, match=r"no_proj.*q_proj"):
        trainer(model, tmp_path, target_modules=["no_proj"]).train(PAIRS)
    with pytest.raises(TrainingError, match="leave it out to take the best"):
        LoRATrainer(config(tmp_path), model_name=str(model), device="cuda:7")


def test_progress_is_json(model: Path, tmp_path: Path) -> None:
    """It travels as events: a value that JSON has no word for would end them."""
    told: list[Progress] = []
    trainer(model, tmp_path, max_steps=2).train(PAIRS, on_progress=told.append)

    assert [each.step for each in told] == [0, 1, 2]
    assert told[0].held_out_loss is not None
    assert json.loads(json.dumps(told[-1].as_dict(), allow_nan=False))["total_steps"] == 2
    assert told[-1].peak_mb > 50
