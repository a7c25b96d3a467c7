"""`LoRATrainer`: pairs in, an adapter out, under the seed's name, arguments and result keys."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from stream.errors import TrainingDataError
from stream.training import adapters, models, ranks
from stream.training.availability import HAS_TORCH, PACKAGES, require
from stream.training.batching import plan
from stream.training.config import LoRATrainingConfig
from stream.training.progress import OnProgress, ignore
from stream.training.replay import LEAST_TO_HOLD_OUT, is_held_out, with_replay
from stream.training.samples import Dataset, build

if TYPE_CHECKING:
    from stream.training.answers import Score
    from stream.training.loop import State, Task
    from stream.training.losses import HeldOut, Scorer

DEFAULT_MODEL = "Qwen/Qwen3-0.6B"
RUNS = ".runs"
"""Under the output folder: checkpoints of runs that have not ended."""
_NOT_THE_RUN = ("output_dir", "save_every_n_steps", "save_every_n_epochs")
"""Settings that change nothing of what comes out."""

Pairs = Sequence[Mapping[str, Any]]


class LoRATrainer:
    """Trains LoRA adapters for one base model.

    Args:
        config: settings of the runs.
        model_name: a folder with the model's files, or a name that is in the local cache.
        device: torch's name for it; None: the first of cuda, mps and cpu that there is.
        clock: seconds, rising, by which `max_minutes` is kept.

    Raises:
        MissingExtraError: an ImportError: torch, transformers, peft or safetensors is missing.
        TrainingError: the device is not there.
    """

    def __init__(self, config: LoRATrainingConfig, *, model_name: str = DEFAULT_MODEL, device: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        if not HAS_TORCH:
            require("torch", purpose="LoRATrainer")
        require(*PACKAGES, purpose="LoRATrainer")
        self.config = config
        self.model_name = model_name
        self.device = models.choose_device(device or ranks.own_device())
        self._clock = clock
        self._tokenizer: Any = None

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, loaded when it is first needed.

        Raises:
            ModelMissingError: its files are not on this machine.
        """
        if self._tokenizer is None:
            self._tokenizer = models.load_tokenizer(self.model_name)
        return self._tokenizer

    def dataset(self, pairs: Pairs) -> Dataset:
        """Tokenize pairs, with a count of what is left out. Reads nothing of the model but its tokenizer."""
        config = self.config
        return build(pairs, self.tokenizer, max_tokens=config.max_seq_length, weight_by_feedback=config.weight_by_feedback, settings=config.chat_template_kwargs)

    def prepare_dataset(self, pairs: Pairs) -> list[dict[str, Any]]:
        """Tokenize pairs as tensors: `input_ids`, `attention_mask`, `labels` (-100: not trained on), each of shape (tokens,) without padding, and `text`."""
        import torch

        return [
            {
                "input_ids": torch.tensor(sample.input_ids),
                "attention_mask": torch.ones(len(sample), dtype=torch.long),
                "labels": torch.tensor(sample.labels),
                "text": sample.text,
            }
            for sample in self.dataset(pairs).samples
        ]

    def train(
        self,
        pairs: Pairs,
        *,
        held_out: Pairs | None = None,
        older: Pairs = (),
        name: str | None = None,
        score: Score | None = None,
        on_progress: OnProgress = ignore,
    ) -> dict[str, Any]:
        """Train an adapter. A run that was killed goes on from its newest checkpoint when the same is asked for again, and ends with the same adapter.

        1. Draw older pairs, hold some back, tokenize.
        2. Load the base and put an adapter in.
        3. Train.
        4. Measure what was held out, and let the model answer it where `score` says how answers are judged.
        5. Write the adapter, then remove the run's checkpoints.

        Args:
            pairs: see `stream.training.conversation.read_pair`.
            held_out: to measure on; None: `held_out_ratio` of the pairs' queries, where there are at least 20 pairs.
            older: pairs of earlier runs, of which `replay_share` are mixed in.
            name: of the adapter; None: the next version.
            score: judges an answer against the one that was wanted, in [0, 1].
            on_progress: told after every step.

        Returns:
            `status`: `completed`, or `skipped` with `reason`. Of a completed run the seed's `epochs, total_steps, avg_loss, adapter_path, training_samples`, besides
            `adapter`, `stopped_by`, `held_out_loss_before`, `held_out_loss_after`, `token_accuracy`, `answers`, `scores` (by query, for a gate), `dataset`, `seconds`, `peak_mb`.

        Raises:
            TrainingDataError: not one pair can be trained on.
            ModelMissingError: the base's files are not on this machine.
            TrainingError: something that the config asks for cannot be had.
            TrainingDivergedError: a loss is no finite number.
            TrainingCheckpointError: a checkpoint or the adapter cannot be written.
        """
        if not pairs:
            return {"status": "skipped", "reason": "no training data"}
        from stream.training.loop import Loop

        data, kept = self._data(pairs, held_out, older)
        base = models.load_base(self.model_name, self.config, self.device)
        described = models.describe(self.model_name, base)
        model = models.put_adapter_in(base, self.config)
        task, scorer = self._task(data, kept, described), self._scorer(model, data)
        state = Loop(task, model, scorer, clock=self._clock, on_progress=on_progress).run()
        if not task.ranks.is_first:
            return {"status": "completed", "total_steps": state.step, "rank": task.ranks.rank}
        card = self._card(task, state, data, kept, described) | self._scores(model, scorer, kept, score)
        written = adapters.write(Path(self.config.output_dir), model, self.tokenizer, card, stem=adapters.stem_of(self.model_name), name=name)
        shutil.rmtree(task.folder, ignore_errors=True)
        return self._summary(written, task, state)

    def _data(self, pairs: Pairs, held_out: Pairs | None, older: Pairs) -> tuple[Dataset, Dataset]:
        """Return what is trained on and what is held out: no query of the second is in the first."""
        config = self.config
        share = config.held_out_ratio if held_out is None and len(pairs) >= LEAST_TO_HOLD_OUT else 0.0
        given = self.dataset(with_replay(pairs, older, share=config.replay_share, rng=random.Random(f"eddy replay {config.seed}")))
        if held_out is None:
            apart = {place for place, conversation in given.conversations.items() if is_held_out(conversation, share)}
            kept = given.only(apart)
        else:
            kept = self.dataset(held_out)
            asked = {conversation.query_id for conversation in kept.conversations.values()}
            apart = {place for place, conversation in given.conversations.items() if conversation.query_id in asked}
        data = given.without(apart)
        if not data.samples:
            raise TrainingDataError("no_sample", f"of {len(pairs)} pairs none can be trained on ({given.refusals.as_dict()}), but a run needs one; look at the reasons")
        return data, kept

    def _task(self, data: Dataset, kept: Dataset, described: dict[str, Any]) -> Task:
        from stream.training.loop import Task

        run = {
            "config": {name: value for name, value in self.config.as_dict().items() if name not in _NOT_THE_RUN},
            "base": described,
            "data": [_digest(data), _digest(kept)],
            "libraries": adapters.libraries(),
        }
        folder = Path(self.config.output_dir) / RUNS / hashlib.sha256(orjson.dumps(run, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]
        laid = plan([len(sample) for sample in data.samples], self.config)
        return Task(config=self.config, samples=data.samples, held_out=kept.samples, plan=laid, folder=folder, ranks=ranks.join(self.device))

    def _scorer(self, model: Any, data: Dataset) -> Scorer:
        from stream.training.losses import Scorer, prove_isolation

        scorer = Scorer(model, self.device)
        if self.config.batching == "packed":
            prove_isolation(scorer, data.samples)
        return scorer

    def _scores(self, model: Any, scorer: Scorer, kept: Dataset, score: Score | None) -> dict[str, Any]:
        """Measure both, the base and the adapter, on what was held out."""
        if not kept.samples:
            return {"held_out_loss_before": None, "held_out_loss_after": None, "token_accuracy": None, "answers": None, "scores": None}
        from stream.training.answers import Paired, by_query, score_answers
        from stream.training.losses import evaluate

        budget = self.config.budget_tokens
        with model.disable_adapter():
            before: HeldOut = evaluate(scorer, kept.samples, budget)
        after = evaluate(scorer, kept.samples, budget)
        answers = score_answers(model, self.tokenizer, kept.conversations, score=score, settings=self.config.chat_template_kwargs) if score is not None else None
        accuracy = Paired(*(by_query(found.accuracy_by_pair(), kept.conversations) for found in (before, after)))
        weighed = answers or accuracy
        return {
            "held_out_loss_before": before.loss,
            "held_out_loss_after": after.loss,
            "token_accuracy": accuracy.as_dict(),
            "answers": answers.as_dict() if answers else None,
            "scores": {"of": "answers" if answers else "token_accuracy", "base": dict(weighed.base), "adapter": dict(weighed.adapter)},
        }

    def _card(self, task: Task, state: State, data: Dataset, kept: Dataset, described: dict[str, Any]) -> dict[str, Any]:
        return {
            "base_model": described,
            "config": self.config.as_dict(),
            "data": {"train_sha256": _digest(data), "held_out_sha256": _digest(kept), "train": data.summary(), "held_out": kept.summary()},
            "trace_ids": sorted({conversation.trace_id for conversation in data.conversations.values()} - {""}),
            "held_out_trace_ids": sorted({conversation.trace_id for conversation in kept.conversations.values()} - {""}),
            "steps": state.step,
            "best_step": state.best_step,
            "stopped_by": state.stopped_by,
            "avg_loss": state.loss_sum / max(1, state.step),
            "held_out_losses": state.held_out,
            "seconds": state.elapsed_s,
            "device": self.device,
        }

    def _summary(self, written: adapters.Adapter, task: Task, state: State) -> dict[str, Any]:
        from stream.training.loop import peak_mb

        card = written.card
        return {
            "status": "completed",
            "epochs": task.plan.epoch_of(state.step - 1) if state.step else 0,
            "total_steps": state.step,
            "avg_loss": card["avg_loss"],
            "adapter_path": str(written.path),
            "training_samples": len(task.samples),
            "adapter": written.name,
            "stopped_by": state.stopped_by,
            "held_out_loss_before": card["held_out_loss_before"],
            "held_out_loss_after": card["held_out_loss_after"],
            "token_accuracy": card["token_accuracy"],
            "answers": card["answers"],
            "scores": card["scores"],
            "dataset": card["data"]["train"],
            "seconds": state.elapsed_s,
            "peak_mb": peak_mb(self.device),
        }


def _digest(data: Dataset) -> str:
    """SHA-256 of what a dataset's conversations hold, in their order."""
    whole = hashlib.sha256()
    for place in sorted(data.conversations):
        whole.update(data.conversations[place].digest.encode())
    return whole.hexdigest()
