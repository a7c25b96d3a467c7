"""Whether a run really learns: a tiny base taught some SQL from nothing, an adapter taught more of it, measured on queries that neither has seen."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stream.learning import LoRATrainer, LoRATrainingConfig
from stream.training.batching import plan
from stream.training.losses import Scorer, collate
from stream.training.samples import build
from tests.training.tiny import make_model, make_tokenizer

Pair = dict[str, Any]

FILE = "intercode_sql.traces.jsonl.gz"
BASE_EPOCHS, BASE_RATE, WARMUP_STEPS = 12, 3e-3, 20
"""Twelve passes take most of a minute; the loss on unseen queries still falls then, so that the base is no strawman that has been trained too long."""
BASE = {"width": 128, "layers": 3}
ADAPTER = {"target_modules": "all-linear", "lora_rank": 16, "learning_rate": 3e-3, "num_epochs": 5, "replay_share": 0.5, "batch_tokens": 2048, "gradient_checkpointing": False}


def thirds(folder: Path) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Read what answered InterCode's SQL tasks rightly, each query with each of its right answers once, and split it by the hash of the query."""
    found: dict[tuple[str, str], str] = {}
    with gzip.open(folder / FILE, "rt") as lines:
        for row in map(json.loads, lines):
            if row["outcome"] == "success" and row["agent"] != "react":  # ReAct's results are wrapped in words of its own
                found.setdefault((row["query"], " ".join(row["result"].split())), row["trace_id"])
    split: tuple[list[Pair], list[Pair], list[Pair]] = ([], [], [])
    for (query, sql), trace_id in found.items():
        words = " ".join(query.split()).lower()
        split[int(hashlib.sha256(words.encode()).hexdigest(), 16) % 3].append({"input": query, "output": sql, "trace_id": trace_id})
    return split


def pretrain(folder: Path, pairs: Sequence[Pair], say: Callable[[str], None]) -> Path:
    """Train a Llama from random weights, all of them, and its tokenizer, on pairs; written as a model's folder."""
    tokenizer = make_tokenizer([f"{pair['input']} {pair['output']}" for pair in pairs], words=800)
    model = make_model(len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None, **BASE)
    samples, scorer = build(pairs, tokenizer, max_tokens=512).samples, Scorer(model, "cpu")
    steps = plan([len(sample) for sample in samples], LoRATrainingConfig(num_epochs=BASE_EPOCHS, batch_tokens=2048)).steps
    optimiser = torch.optim.AdamW(model.parameters(), lr=BASE_RATE, weight_decay=0.1)
    model.train()
    for number, (batch,) in enumerate(steps):
        tensors = collate([samples[place] for place in batch], "cpu")
        optimiser.param_groups[0]["lr"] = BASE_RATE * min(1.0, (number + 1) / WARMUP_STEPS) * (1 - number / len(steps))
        loss = scorer.loss(tensors) / len(tensors.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if number % 50 == 0:
            say(f"base: step {number} of {len(steps)}, loss {float(loss.detach()):.2f}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def adapt(base: Path, folder: Path, pairs: Sequence[Pair], older: Sequence[Pair], held_out: Sequence[Pair], say: Callable[[str], None], **settings: Any) -> dict[str, Any]:
    """Train an adapter for the base, half of it on what the base was trained on, against forgetting."""
    config = LoRATrainingConfig(output_dir=str(folder), **(ADAPTER | settings))
    return LoRATrainer(config, model_name=str(base), device="cpu").train(
        pairs, older=older, held_out=held_out, on_progress=lambda told: say(f"adapter: step {told.step}, held out {told.held_out_loss:.3f}") if told.held_out_loss else None
    )


def shuffled(pairs: Sequence[Pair]) -> list[Pair]:
    """Give every question the answer to another one, in equal shares: nothing is to be learned of them but what SQL looks like."""
    answers = [pair["output"] for pair in pairs]
    half = len(answers) // 2
    return [{**pair, "output": answer} for pair, answer in zip(pairs, answers[half:] + answers[:half], strict=True)]


def answered(pairs: Sequence[Pair]) -> Mapping[str, set[str]]:
    """Return all right answers to each question, by their words."""
    found: dict[str, set[str]] = {}
    for pair in pairs:
        found.setdefault(pair["input"], set()).add(" ".join(pair["output"].lower().split()))
    return found
