"""The training loop: what one run does from its newest checkpoint to its end.

It is our own, and not the Trainer of transformers: that one keeps its optimiser and random states as pickles, counts a resumed run's minutes
from the crash on, and averages losses over samples where a token budget needs them over tokens (see the ADR on the training loop).
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stream.errors import TrainingCheckpointError, TrainingDivergedError
from stream.training import checkpoints
from stream.training.batching import Plan
from stream.training.config import LoRATrainingConfig
from stream.training.losses import HeldOut, Scorer, collate, evaluate
from stream.training.models import own_randomness
from stream.training.progress import OnProgress, Progress
from stream.training.ranks import ALONE, Ranks
from stream.training.samples import Sample, total_weight
from stream.training.schedule import share_of_peak

SAVE_S = 300.0
"""A checkpoint is written when so much work would be lost, however the settings are."""
LEAST_GAIN = 1e-4
"""Nats by which a held-out loss must fall to count as lower."""

_ADAPTER, _BEST, _OPTIMISER = "adapter/", "best/", "optimiser/"


@dataclass
class State:
    """Where a run stands, beside its tensors.

    Attributes:
        step: steps done.
        elapsed_s: seconds of training until then.
        loss_sum: of the steps' mean losses.
        tokens: supervised tokens trained.
        held_out: (step, loss) of every evaluation.
        best_step: the evaluation with the lowest loss; None: there was none.
        best_loss: its loss.
        without_gain: evaluations since then.
        stopped_by: why it ended; empty: it has not.
    """

    step: int = 0
    elapsed_s: float = 0.0
    loss_sum: float = 0.0
    tokens: int = 0
    held_out: list[tuple[int, float]] = field(default_factory=list)
    best_step: int | None = None
    best_loss: float = math.inf
    without_gain: int = 0
    stopped_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a run is about.

    Attributes:
        config: its settings.
        samples: to train on.
        held_out: to measure on; may be empty.
        plan: which samples every step takes.
        folder: of its checkpoints.
        ranks: the processes that share the work.
    """

    config: LoRATrainingConfig
    samples: Sequence[Sample]
    held_out: Sequence[Sample]
    plan: Plan
    folder: Path
    ranks: Ranks = ALONE


class Loop:
    """One run.

    Args:
        task: what it is about.
        model: with an adapter in it.
        scorer: of the model.
        clock: seconds, rising.
        on_progress: told after every step.
    """

    def __init__(self, task: Task, model: Any, scorer: Scorer, *, clock: Callable[[], float], on_progress: OnProgress) -> None:
        self._task = task
        self._model = model
        self._scorer = scorer
        self._clock = clock
        self._on_progress = on_progress
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._optimiser = torch.optim.AdamW(self._weights.values(), lr=task.config.learning_rate, weight_decay=task.config.weight_decay)
        self._best: dict[str, torch.Tensor] = {}
        self._saved_s = 0.0
        self.state = State()

    def run(self) -> State:
        """Train to the end; the model holds the best adapter then, by held-out loss, or the last where nothing is held out.

        1. Take up the newest checkpoint, if there is one.
        2. Measure the base, whose adapter changes nothing yet.
        3. Train step by step; measure, save and stop where it is due.
        4. Put the best adapter back.

        Raises:
            TrainingDivergedError: a loss or gradient is no finite number. Checkpoints stay as they are.
            TrainingCheckpointError: one cannot be written or read.
        """
        self._resume()
        began, before = self._clock(), self.state.elapsed_s
        self._saved_s = before
        with own_randomness(self._scorer.device):
            if self.state.step == 0 and not self.state.held_out:
                self._measure()
            while not self._is_over():
                loss, rate, norm = self._step(self.state.step)
                self.state.elapsed_s = self._task.ranks.agreed(before + self._clock() - began, self._scorer.device)
                self._after(loss, rate, norm)
        if self.state.best_step is not None:
            self._put(self._best)
        return self.state

    def _step(self, step: int) -> tuple[float, float, float]:
        """Take one step of the optimiser; returns the loss, the learning rate and the gradient's norm."""
        task, total = self._task, torch.zeros((), device=self._scorer.device)
        config, ranks, batches = task.config, task.ranks, [[task.samples[place] for place in batch] for batch in task.plan.steps[step]]
        weight = total_weight(sample for batch in batches for sample in batch)
        self._model.train()
        for place, samples in enumerate(batches):
            torch.manual_seed(((config.seed << 44) + (step << 20) + (place << 8) + ranks.rank) % 2**63)  # dropout depends on nothing that came before
            if own := ranks.own(samples):
                loss = self._scorer.loss(collate(own, self._scorer.device, is_packed=config.batching == "packed")) / weight
                loss.backward()
                total += loss.detach()
        mean, norm = self._gathered(total)
        if not math.isfinite(mean) or not math.isfinite(norm):
            raise self._diverged(step, mean, norm)
        rate = config.learning_rate * share_of_peak(step, total_steps=len(task.plan.steps), warmup_ratio=config.warmup_ratio, schedule=config.schedule)
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self.state.step, self.state.loss_sum = step + 1, self.state.loss_sum + mean
        self.state.tokens += sum(sample.supervised_tokens for batch in batches for sample in batch)
        return mean, rate, norm

    def _gathered(self, loss: torch.Tensor) -> tuple[float, float]:
        """Add up what all processes found and clip it; returns the loss and the gradient's norm."""
        for weight in self._weights.values():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        self._task.ranks.add_up([loss, *(weight.grad for weight in self._weights.values())])
        return float(loss), float(torch.nn.utils.clip_grad_norm_(self._weights.values(), self._task.config.max_grad_norm))

    def _diverged(self, step: int, loss: float, norm: float) -> TrainingDivergedError:
        pairs = sorted({self._task.samples[place].pair for batch in self._task.plan.steps[step] for place in batch})[:10]
        return TrainingDivergedError(
            f"step {step + 1} has a loss of {loss} and a gradient of norm {norm} (pairs {pairs}), but both are finite where a run learns; lower learning_rate or look at the pairs"
        )

    def _after(self, loss: float, rate: float, norm: float) -> None:
        """Measure, tell, and save where it is due; a checkpoint holds what was measured, so that nothing is measured twice."""
        state, config = self.state, self._task.config
        is_epoch_end, every = state.step in self._task.plan.epoch_ends, config.evaluate_every_n_steps
        is_due = (state.step % every == 0 if every else is_epoch_end) or state.step == len(self._task.plan.steps) or self._is_out_of_time()
        held_out = self._measure(is_told=False) if is_due else None
        self._tell(loss=loss, rate=rate, norm=norm, held_out=held_out)
        state.stopped_by = self._reason_to_stop()
        is_due = config.save_every_n_steps is not None and state.step % config.save_every_n_steps == 0
        is_due = is_due or (is_epoch_end and self._task.plan.epoch_ends.index(state.step) % config.save_every_n_epochs == config.save_every_n_epochs - 1)
        if is_due or state.stopped_by or state.elapsed_s - self._saved_s >= SAVE_S:
            self._save()

    def _reason_to_stop(self) -> str:
        state, config = self.state, self._task.config
        if state.step == len(self._task.plan.steps):
            return "max_steps" if config.max_steps == state.step else "epochs"
        if config.early_stopping_patience and state.without_gain >= config.early_stopping_patience:
            return "early_stopping"
        return "max_minutes" if self._is_out_of_time() else ""

    def _is_out_of_time(self) -> bool:
        minutes = self._task.config.max_minutes
        return minutes is not None and self.state.elapsed_s >= minutes * 60

    def _is_over(self) -> bool:
        return bool(self.state.stopped_by) or self.state.step >= len(self._task.plan.steps)

    def _measure(self, *, is_told: bool = True) -> HeldOut | None:
        """Measure on what is held out, and keep the adapter if it is the best so far."""
        if not self._task.held_out:
            return None
        found, state = evaluate(self._scorer, self._task.held_out, self._task.config.budget_tokens), self.state
        found = replace(found, loss=self._task.ranks.agreed(found.loss, self._scorer.device))
        if not math.isfinite(found.loss):
            raise TrainingDivergedError(f"the held-out loss after step {state.step} is {found.loss}, but it is finite where a run learns; lower learning_rate or look at the pairs")
        state.held_out.append((state.step, found.loss))
        is_better = found.loss < state.best_loss - LEAST_GAIN
        state.without_gain = 0 if is_better else state.without_gain + 1
        if is_better:
            state.best_step, state.best_loss = state.step, found.loss
            self._best = {name: weight.detach().clone() for name, weight in self._weights.items()}
        if is_told:
            self._tell(held_out=found)
        return found

    def _tell(self, *, loss: float | None = None, rate: float = 0.0, norm: float = 0.0, held_out: HeldOut | None = None) -> None:
        state = self.state
        if not self._task.ranks.is_first:
            return
        self._on_progress(
            Progress(
                step=state.step,
                total_steps=len(self._task.plan.steps),
                epoch=self._task.plan.epoch_of(state.step - 1) if state.step else 0,
                loss=loss,
                learning_rate=rate,
                gradient_norm=norm,
                tokens=state.tokens,
                tokens_per_s=state.tokens / state.elapsed_s if state.elapsed_s > 0 else 0.0,
                elapsed_s=state.elapsed_s,
                held_out_loss=held_out.loss if held_out else None,
                peak_mb=peak_mb(self._scorer.device),
            )
        )

    def _save(self) -> None:
        self._saved_s = self.state.elapsed_s
        if not self._task.ranks.is_first:
            return
        tensors = {f"{_ADAPTER}{name}": weight for name, weight in self._weights.items()}
        tensors |= {f"{_BEST}{name}": weight for name, weight in self._best.items()}
        for place, values in self._optimiser.state_dict()["state"].items():
            tensors |= {f"{_OPTIMISER}{place}/{name}": value for name, value in values.items()}
        checkpoints.save(self._task.folder, self.state.step, tensors, asdict(self.state))

    def _resume(self) -> None:
        found = checkpoints.newest(self._task.folder)
        if found is None:
            return
        tensors, state = checkpoints.load(found)
        try:
            self.state = State(**{**state, "best_loss": math.inf if state["best_loss"] is None else state["best_loss"], "held_out": [tuple(each) for each in state["held_out"]]})
            self._put(_under(_ADAPTER, tensors))
            self._best = {name: tensor.to(self._scorer.device) for name, tensor in _under(_BEST, tensors).items()}
            moments: dict[int, dict[str, Any]] = {}
            for name, value in _under(_OPTIMISER, tensors).items():
                place, _, what = name.partition("/")
                moments.setdefault(int(place), {})[what] = value
            self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": moments})
        except (KeyError, TypeError, ValueError, RuntimeError) as exc:
            raise TrainingCheckpointError(f"{found} is not of this run ({exc!r}), but the run goes on from it; remove the folder to start from the beginning") from exc

    def _put(self, weights: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(weights[name])


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def peak_mb(device: str) -> float:
    """Return the most memory that the card, or else the process, has held, in MB (10^6 bytes)."""
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
