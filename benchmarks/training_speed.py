"""How many assistant tokens a second are trained: by Eddy, the seed's way, and by a loop written by hand; and whether shared rows change a logit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from stream.learning import LoRATrainingConfig
from stream.training import models
from stream.training.batching import plan
from stream.training.loop import Loop, Task
from stream.training.losses import Scorer, collate, packing_difference
from stream.training.samples import IGNORED, Sample

MEDIAN_TOKENS, SPREAD, SHORTEST, LONGEST = 150, 0.5, 24, 1000
"""Lengths are lognormal: half of them between 107 and 210 tokens, as chats are."""
ANSWER_SHARE = 0.4
SEED_LENGTH, SEED_BATCH = 2048, 4


def samples(count: int, words: int, *, seed: int = 0) -> list[Sample]:
    """Draw token ids: what they mean costs nothing."""
    rng = random.Random(seed)
    made = []
    for place in range(count):
        length = min(LONGEST, max(SHORTEST, round(MEDIAN_TOKENS * rng.lognormvariate(0.0, SPREAD))))
        ids = [rng.randrange(3, words) for _ in range(length)]
        prompt = round(length * (1 - ANSWER_SHARE))
        made.append(Sample(ids, [IGNORED] * prompt + ids[prompt:], "", pair=place))
    return made


def _optimiser(model: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=2e-5, weight_decay=0.01)


def _finish_step(model: Any, optimiser: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_([weight for weight in model.parameters() if weight.requires_grad], 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def eddys(model: Any, data: Sequence[Sample], config: LoRATrainingConfig, folder: Path) -> float:
    """Train an epoch as `LoRATrainer` does, checkpoint included; returns assistant tokens a second."""
    task = Task(config=config, samples=data, held_out=(), plan=plan([len(sample) for sample in data], config), folder=folder)
    loop = Loop(task, model, Scorer(model, "cpu"), clock=time.perf_counter, on_progress=lambda _: None)
    began = time.perf_counter()
    state = loop.run()
    return state.tokens / (time.perf_counter() - began)


def seeds(model: Any, data: Sequence[Sample]) -> float:
    """Train as the seed does: in the order given, each sample filled up to 2,048 tokens, four at a time, logits and loss for all that is no padding."""
    optimiser, tokens, began = _optimiser(model), 0, time.perf_counter()
    model.train()
    for begin in range(0, len(data) - SEED_BATCH + 1, SEED_BATCH):
        batch = data[begin : begin + SEED_BATCH]
        ids = torch.tensor([sample.input_ids + [0] * (SEED_LENGTH - len(sample)) for sample in batch])
        mask = torch.tensor([[1] * len(sample) + [0] * (SEED_LENGTH - len(sample)) for sample in batch])
        model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, IGNORED), use_cache=False).loss.backward()
        _finish_step(model, optimiser)
        tokens += sum(sample.supervised_tokens for sample in batch)
    return tokens / (time.perf_counter() - began)


def by_hand(model: Any, data: Sequence[Sample], steps: Sequence[Sequence[int]]) -> float:
    """Train the same steps sample by sample, each as long as it is: not a token of padding."""
    optimiser, tokens, began = _optimiser(model), 0, time.perf_counter()
    model.train()
    for places in steps:
        total = sum(data[place].supervised_tokens for place in places)
        for place in places:
            sample = data[place]
            logits = model(input_ids=torch.tensor([sample.input_ids]), use_cache=False).logits[0, :-1]
            (torch.nn.functional.cross_entropy(logits, torch.tensor(sample.labels[1:]), ignore_index=IGNORED, reduction="sum") / total).backward()
        _finish_step(model, optimiser)
        tokens += total
    return tokens / (time.perf_counter() - began)


def compare(base: Path, folder: Path, *, count: int, seeds_count: int, rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Let all three take turns; returns each one's assistant tokens a second, round by round."""
    config = LoRATrainingConfig(num_epochs=1, batch_tokens=4096, min_steps_per_epoch=1)
    speeds: dict[str, list[float]] = {"eddy": [], "seed": [], "by_hand": []}
    for number in range(rounds):
        model = models.put_adapter_in(models.load_base(str(base), config, "cpu"), config)
        data = samples(count, model.config.vocab_size, seed=number)
        steps = [step[0] for step in plan([len(sample) for sample in data], config).steps]
        speeds["eddy"].append(eddys(model, data, config, folder / f"round-{number}"))
        speeds["by_hand"].append(by_hand(model, data, steps))
        speeds["seed"].append(seeds(model, data[:seeds_count]))
        say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {values[-1]:,.0f}/s" for name, values in speeds.items()))
    return speeds


def greatest_difference(base: Path, count: int) -> float:
    """Return by how much logits of samples in packed rows, or in padded batches, differ at most from those of each alone, in float32."""
    config = LoRATrainingConfig(gradient_checkpointing=False)
    model = models.load_base(str(base), config, "cpu").eval()
    scorer, data = Scorer(model, "cpu"), samples(count, model.config.vocab_size)
    worst = 0.0
    for begin in range(0, count, 8):
        chosen = data[begin : begin + 8]
        with torch.no_grad():
            alone = torch.cat([scorer.logits(collate([sample], "cpu")) for sample in chosen])
            padded = scorer.logits(collate(chosen, "cpu"))
        worst = max(worst, packing_difference(scorer, chosen), float((padded - alone).abs().max()))
    return worst
