"""What share of a card's matrix rate training reaches: a Llama of the shape of a 0.6B model, random weights, bfloat16. Only where there is a card.

Written to be run on one; no run of it is recorded yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.training_speed import samples
from stream.learning import LoRATrainingConfig
from stream.training import models
from stream.training.batching import plan
from stream.training.losses import Batch, Scorer, collate

SHAPE = {"vocab_size": 151_936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
"""Qwen3-0.6B's."""
FLOPS_PER_TOKEN_AND_WEIGHT = 4
"""Forward, and the gradients of activations, two each; a frozen weight's own gradient is not computed."""
MATRIX, REPEATS = 8192, 20


def matrix_rate(device: str) -> float:
    """Measure the card: floating point operations a second of one large bfloat16 product."""
    one = torch.randn(MATRIX, MATRIX, device=device, dtype=torch.bfloat16)
    return REPEATS * 2 * MATRIX**3 / _seconds(device, lambda: [one @ one for _ in range(REPEATS)])


def shares(device: str = "cuda", *, shape: dict[str, int] | None = None, count: int = 2000, compiled: bool = False, batch_tokens: int = 32_768) -> dict[str, float]:
    """Measure training; returns the share of the matrix rate, tokens a second and the most memory held.

    The output layer counts only for tokens that are predicted, since it is computed for them alone; embeddings count nothing, padding neither.
    """
    config = LoRATrainingConfig(num_epochs=1, batch_tokens=batch_tokens, target_modules="all-linear", gradient_checkpointing=False, min_steps_per_epoch=1)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    base = LlamaForCausalLM(LlamaConfig(**(shape or SHAPE), tie_word_embeddings=True)).to(device=device, dtype=dtype)
    model = models.put_adapter_in(base, config)
    data = samples(count, base.config.vocab_size)
    batches = [[data[place] for place in step[0]] for step in plan([len(sample) for sample in data], config).steps]
    scorer = Scorer(model, device)
    if compiled:
        base.model = torch.compile(base.model, dynamic=True)
    embedding = base.get_input_embeddings().weight.numel()
    body = sum(weight.numel() for weight in base.parameters() if not weight.requires_grad) - embedding
    tensors = [collate(batch, device) for batch in batches]
    work = sum(FLOPS_PER_TOKEN_AND_WEIGHT * (body * len(sample) + embedding * sample.supervised_tokens) for sample in data)
    _train(model, scorer, tensors[: max(1, len(tensors) // 4)])
    seconds = _seconds(device, lambda: _train(model, scorer, tensors))
    rate = matrix_rate(device) if device.startswith("cuda") else float("nan")
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if device.startswith("cuda") else 0.0
    return {"mfu": work / seconds / rate, "tokens_per_s": sum(map(len, data)) / seconds, "peak_mb": peak}


def _train(model: Any, scorer: Scorer, batches: Sequence[Batch]) -> None:
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=2e-5)
    model.train()
    for batch in batches:
        (scorer.loss(batch) / len(batch.targets)).backward()
        torch.nn.utils.clip_grad_norm_([weight for weight in model.parameters() if weight.requires_grad], 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


def _seconds(device: str, work: Callable[[], object]) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
