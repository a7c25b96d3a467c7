"""In which batches an epoch's samples are trained: a pure function of their lengths, the settings and the epoch, so that a resumed run goes on where it was."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stream.training.config import LoRATrainingConfig

WINDOW_BATCHES = 32
"""Samples are sorted by length among those of so many batches: enough for little padding (a fiftieth), few enough that the order stays random."""

Batch = list[int]
"""Places of samples."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What every step of a run trains on.

    Attributes:
        steps: batches, for each step of the optimiser.
        epoch_ends: for each epoch, the steps done when it is over.
    """

    steps: list[list[Batch]]
    epoch_ends: list[int]

    def epoch_of(self, step: int) -> int:
        """Return the epoch, counted from 1, of a step, counted from 0."""
        return next(epoch for epoch, end in enumerate(self.epoch_ends, 1) if step < end)


def plan(lengths: Sequence[int], config: LoRATrainingConfig) -> Plan:
    """Lay out a whole run.

    Args:
        lengths: tokens of each sample, in the data's order.
        config: its epochs, batches, seed and `max_steps`.
    """
    steps: list[list[Batch]] = []
    ends = []
    for epoch in range(config.num_epochs):
        batches = list(_epoch(lengths, config, random.Random(f"eddy:{config.seed}:{epoch}")))
        steps += [batches[begin : begin + config.gradient_accumulation_steps] for begin in range(0, len(batches), config.gradient_accumulation_steps)]
        ends.append(len(steps))
        if config.max_steps is not None and len(steps) >= config.max_steps:
            break
    kept = len(steps) if config.max_steps is None else min(len(steps), config.max_steps)
    return Plan(steps[:kept], [min(end, kept) for end in ends])


def bucketed(lengths: Sequence[int], budget_tokens: int) -> Iterator[Batch]:
    """Batch all samples by length, for a pass that has no order, as the held-out one."""
    yield from _within_budget(sorted(range(len(lengths)), key=lambda place: (lengths[place], place)), lengths, budget_tokens, len(lengths))


def padded_tokens(batch: Batch, lengths: Sequence[int]) -> int:
    """Tokens that a batch takes with its padding."""
    return len(batch) * max(lengths[place] for place in batch)


def _epoch(lengths: Sequence[int], config: LoRATrainingConfig, rng: random.Random) -> Iterator[Batch]:
    order = list(range(len(lengths)))
    rng.shuffle(order)
    if config.batching == "samples":
        yield from (order[begin : begin + config.batch_size] for begin in range(0, len(order), config.batch_size))
        return
    budget, most = config.budget_tokens, max(1, math.ceil(len(order) / (config.min_steps_per_epoch * config.gradient_accumulation_steps)))
    if config.batching == "packed":
        batches = list(_packed(order, lengths, budget, most))
    else:
        batches = [batch for window in _windows(order, lengths, budget, most) for batch in _within_budget(window, lengths, budget, most)]
    rng.shuffle(batches)
    yield from batches


def _windows(order: list[int], lengths: Sequence[int], budget: int, most: int) -> Iterator[list[int]]:
    mean = max(1.0, math.fsum(lengths) / max(1, len(lengths)))
    size = max(1, round(min(most, budget / mean) * WINDOW_BATCHES))
    for begin in range(0, len(order), size):
        yield sorted(order[begin : begin + size], key=lambda place: lengths[place])


def _within_budget(ordered: list[int], lengths: Sequence[int], budget: int, most: int) -> Iterator[Batch]:
    """Cut a sequence that rises in length into batches; one sample above the budget is a batch by itself."""
    batch: Batch = []
    for place in ordered:
        if batch and (len(batch) >= most or (len(batch) + 1) * lengths[place] > budget):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _packed(order: list[int], lengths: Sequence[int], budget: int, most: int) -> Iterator[Batch]:
    """Fill rows in the order that was drawn, each sample into the first of the last few that it fits into."""
    rows: list[Batch] = []
    filled: list[int] = []
    for place in order:
        row = next((at for at in range(max(0, len(rows) - WINDOW_BATCHES), len(rows)) if filled[at] + lengths[place] <= budget and len(rows[at]) < most), None)
        if row is None:
            rows.append([])
            filled.append(0)
            row = len(rows) - 1
        rows[row].append(place)
        filled[row] += lengths[place]
    yield from rows
