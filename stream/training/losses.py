"""The loss of a batch and of a held-out set: cross entropy over the assistant's tokens alone, and logits computed only where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from stream.errors import TrainingError
from stream.training.batching import bucketed
from stream.training.samples import IGNORED, Sample

PACKED_TOLERANCE = 1e-4
"""Of logits in float32 between a packed row and its samples alone; isolation that fails shows as .1 and more."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples as tensors.

    Attributes:
        input_ids: shape (rows, columns).
        attention_mask: the same, 0 where a row is padded; None where none is.
        position_ids: for packed rows, beginning anew with every sample; else None.
        targets: token ids of the supervised tokens, row by row, shape (supervised,).
        at: of each, the place in the flattened (rows x columns) of the token before it, shape (supervised,).
        weights: of each, shape (supervised,).
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    position_ids: torch.Tensor | None
    targets: torch.Tensor
    at: torch.Tensor
    weights: torch.Tensor


def collate(samples: Sequence[Sample], device: str, *, is_packed: bool = False) -> Batch:
    """Put samples side by side, padded on the right, or one behind the other."""
    width = sum(map(len, samples)) if is_packed else max(map(len, samples))
    starts = _starts(samples, width, is_packed=is_packed)
    rows = 1 if is_packed else len(samples)
    ids, mask, positions = torch.zeros(rows * width, dtype=torch.long), torch.zeros(rows * width, dtype=torch.long), torch.zeros(rows * width, dtype=torch.long)
    targets, at, weights = [], [], []
    for begin, sample in zip(starts, samples, strict=True):
        ids[begin : begin + len(sample)] = torch.tensor(sample.input_ids)
        mask[begin : begin + len(sample)] = 1
        positions[begin : begin + len(sample)] = torch.arange(len(sample))
        places = [place for place in range(1, len(sample)) if sample.labels[place] != IGNORED]
        targets += [sample.labels[place] for place in places]
        at += [begin + place - 1 for place in places]
        weights += [sample.weight] * len(places)
    is_padded = not is_packed and not bool(mask.all())
    return Batch(
        ids.view(rows, width).to(device),
        mask.view(rows, width).to(device) if is_padded else None,
        positions.view(rows, width).to(device) if is_packed else None,
        torch.tensor(targets, dtype=torch.long, device=device),
        torch.tensor(at, dtype=torch.long, device=device),
        torch.tensor(weights, dtype=torch.float32, device=device),
    )


def _starts(samples: Sequence[Sample], width: int, *, is_packed: bool) -> list[int]:
    if not is_packed:
        return [row * width for row in range(len(samples))]
    return [sum(map(len, samples[:place])) for place in range(len(samples))]


class Scorer:
    """Computes the logits of supervised tokens.

    Where a model's head is one layer behind its decoder, only the states of those tokens go through it; whether it is, is tried out, not believed:
    some models scale or cap their logits.

    Args:
        model: with or without an adapter.
        device: it stands on.
    """

    def __init__(self, model: Any, device: str) -> None:
        self.model = model
        self.device = device
        self._base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._is_head_plain = self._try_head()

    def autocast(self) -> AbstractContextManager[Any]:
        """Multiply in bfloat16 on CUDA, the float32 adapter included."""
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.device.startswith("cuda") else nullcontext()

    def logits(self, batch: Batch) -> torch.Tensor:
        """Return the logits that each supervised token was predicted with; shape (supervised, words), float32."""
        inputs = {"input_ids": batch.input_ids, "use_cache": False}
        if batch.attention_mask is not None:
            inputs["attention_mask"] = batch.attention_mask
        if batch.position_ids is not None:
            inputs["position_ids"] = batch.position_ids
        with self.autocast():
            if self._is_head_plain:
                hidden = self._base.get_decoder()(**inputs).last_hidden_state
                return self._base.get_output_embeddings()(hidden.flatten(0, 1)[batch.at]).float()
            return self.model(**inputs).logits.flatten(0, 1)[batch.at].float()

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the weighted sum of the supervised tokens' cross entropies, in nats."""
        return (cross_entropy(self.logits(batch), batch.targets, reduction="none") * batch.weights).sum()

    def _try_head(self) -> bool:
        try:
            decoder, head = self._base.get_decoder(), self._base.get_output_embeddings()
        except (AttributeError, NotImplementedError):
            return False
        if decoder is None or head is None or decoder is self._base:
            return False
        ids = torch.arange(4, device=self.device)[None] % self._base.config.get_text_config().vocab_size
        with torch.no_grad(), _evaluating(self.model), self.autocast():
            whole = self._base(input_ids=ids, use_cache=False).logits
            short = head(decoder(input_ids=ids, use_cache=False).last_hidden_state)
        return whole.shape == short.shape and bool(torch.equal(whole, short))


class _evaluating:  # noqa: N801 - reads as what it does in a with statement
    """Turn dropout off for a while."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __enter__(self) -> None:
        self._was_training = self._model.training
        self._model.eval()

    def __exit__(self, *_: object) -> None:
        self._model.train(self._was_training)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a model makes of samples that it was not trained on.

    Attributes:
        loss: nats a supervised token.
        right: by pair, how many of its supervised tokens have the highest logit where what stands before them is given.
        tokens: by pair, how many supervised tokens there are.
    """

    loss: float
    right: dict[int, int]
    tokens: dict[int, int]

    @property
    def accuracy(self) -> float:
        """Share of supervised tokens that have the highest logit."""
        return sum(self.right.values()) / max(1, sum(self.tokens.values()))

    def accuracy_by_pair(self) -> dict[int, float]:
        """The same, pair by pair."""
        return {pair: self.right[pair] / self.tokens[pair] for pair in self.tokens}


def evaluate(scorer: Scorer, samples: Sequence[Sample], budget_tokens: int) -> HeldOut:
    """Measure a model on samples, unweighted."""
    total, right, tokens = 0.0, dict[int, int](), dict[int, int]()
    with torch.no_grad(), _evaluating(scorer.model):
        for places in bucketed([len(sample) for sample in samples], budget_tokens):
            chosen = [samples[place] for place in places]
            batch = collate(chosen, scorer.device)
            logits = scorer.logits(batch)
            total += float(cross_entropy(logits, batch.targets, reduction="sum", ignore_index=IGNORED).double())
            hits = iter((logits.argmax(-1) == batch.targets).tolist())
            for sample in chosen:
                count = sample.supervised_tokens
                right[sample.pair] = right.get(sample.pair, 0) + sum(next(hits) for _ in range(count))
                tokens[sample.pair] = tokens.get(sample.pair, 0) + count
    return HeldOut(total / max(1, sum(tokens.values())), right, tokens)


def packing_difference(scorer: Scorer, samples: Sequence[Sample]) -> float:
    """Return by how much the logits of samples in one row differ at most from those of each alone."""
    with torch.no_grad(), _evaluating(scorer.model):
        packed = scorer.logits(collate(samples, scorer.device, is_packed=True))
        alone = torch.cat([scorer.logits(collate([sample], scorer.device)) for sample in samples])
    return float((packed - alone).abs().max())


def prove_isolation(scorer: Scorer, samples: Sequence[Sample]) -> float:
    """Refuse packing where samples in one row see each other.

    On CUDA logits are bfloat16's and differ by some hundredths of themselves; a neighbour that is seen moves them by tenths, so that the tolerance is wider there.

    Raises:
        TrainingError: they do.
    """
    short = sorted(samples, key=len)[:4]
    difference = packing_difference(scorer, short) if len(short) > 1 else 0.0
    tolerance = PACKED_TOLERANCE if not scorer.device.startswith("cuda") else 0.1
    if not difference <= tolerance:
        raise TrainingError(f"packed samples change each other's logits by {difference:.3g}, but packing needs them apart (at most {tolerance:g}); leave batching at 'tokens'")
    return difference
