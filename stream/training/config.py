"""How a LoRA adapter is trained: the seed's settings under its names and defaults, and what it had none for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from stream.errors import SettingsError

Batching = Literal["tokens", "samples", "packed"]
Schedule = Literal["cosine", "linear", "constant"]

ALL_LINEAR = "all-linear"
"""peft's word for every linear layer but the output's."""

_AT_LEAST_ONE = ("lora_rank", "num_epochs", "batch_size", "max_seq_length", "save_every_n_epochs", "gradient_accumulation_steps", "min_steps_per_epoch")
_AT_LEAST_ONE_IF_SET = ("batch_tokens", "max_steps", "save_every_n_steps", "evaluate_every_n_steps")
_POSITIVE = ("lora_alpha", "learning_rate", "max_grad_norm")
_WHOLE_NOT_NEGATIVE = ("early_stopping_patience", "seed")
_NOT_NEGATIVE = ("weight_decay",)
_SHARES = ("lora_dropout", "held_out_ratio", "replay_share")


@dataclass
class LoRATrainingConfig:
    """Settings of one training run.

    Attributes:
        lora_rank: of the adapter's matrices.
        lora_alpha: the adapter is scaled by alpha / rank.
        lora_dropout: share of an adapter's inputs that is dropped, in [0, 1).
        target_modules: names of the layers that get an adapter, or `all-linear`.
        num_epochs: passes over the data.
        batch_size: samples of a batch where `batching` is `samples`; else only the default of `batch_tokens`.
        learning_rate: AdamW's, at its peak.
        weight_decay: AdamW's.
        warmup_ratio: share of all steps over which the learning rate rises from 0, in [0, 1].
        max_grad_norm: gradients are clipped to this norm.
        max_seq_length: tokens of the longest sample; a longer one is cut at the end of a turn or refused, never inside one.
        use_4bit: QLoRA, by bitsandbytes on CUDA. Experimental: no test of ours has run it.
        output_dir: folder that adapters are written into, each under its own name.
        save_every_n_epochs: a checkpoint is written after so many epochs.
        gradient_checkpointing: recompute activations in the backward pass: less memory, a third more work.
        batching: `tokens`: samples of similar length share a batch of at most `batch_tokens` with its padding. `samples`: `batch_size` samples,
            as they come. `packed`: samples one behind the other in one row without padding, after a proof that they do not see each other.
        batch_tokens: None: `batch_size` x `max_seq_length`, what the seed's padded batch holds.
        min_steps_per_epoch: a small data set is cut into smaller batches, so that an epoch has as many steps as this, or as it has samples.
        gradient_accumulation_steps: batches of one step of the optimiser. The loss is the mean over all their supervised tokens.
        schedule: how the learning rate falls after the warm-up, to 0 but for `constant`.
        max_steps: the run ends after so many steps of the optimiser; the schedule is made for them.
        max_minutes: the run ends after so many minutes of training, those before a crash included.
        held_out_ratio: share of the queries that is held out where the caller gives no held-out pairs and there are at least 20, in [0, 1).
        evaluate_every_n_steps: None: after every epoch.
        early_stopping_patience: the run ends after so many evaluations in a row without a lower held-out loss; 0: never.
        save_every_n_steps: a checkpoint is written after so many steps besides.
        seed: of the order, the dropout and the adapter's first values.
        replay_share: of the pairs trained on, the share taken from older ones where the caller gives some, in [0, 1).
        weight_by_feedback: weight a pair's tokens by its `feedback`.
        use_dora: DoRA. On a card experimental: no test of ours has run it there.
        chat_template_kwargs: what the chat template is told besides, as {"enable_thinking": False}.

    Raises:
        SettingsError: a ValueError that names every field that cannot be used.
    """

    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    target_modules: list[str] | str = field(default_factory=lambda: ["q_proj", "v_proj"])
    num_epochs: int = 3
    batch_size: int = 4
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    max_seq_length: int = 2048
    use_4bit: bool = False
    output_dir: str = "checkpoints/lora"
    save_every_n_epochs: int = 1
    gradient_checkpointing: bool = True
    batching: Batching = "tokens"
    batch_tokens: int | None = None
    min_steps_per_epoch: int = 8
    gradient_accumulation_steps: int = 1
    schedule: Schedule = "cosine"
    max_steps: int | None = None
    max_minutes: float | None = None
    held_out_ratio: float = 0.1
    evaluate_every_n_steps: int | None = None
    early_stopping_patience: int = 2
    save_every_n_steps: int | None = None
    seed: int = 0
    replay_share: float = 0.2
    weight_by_feedback: bool = False
    use_dora: bool = False
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if faults := [*self._out_of_range(), *self._wrong_words()]:
            raise SettingsError(f"a training run was configured with {'; '.join(faults)}; correct {'it' if len(faults) == 1 else 'them'}")

    @property
    def budget_tokens(self) -> int:
        """Tokens of a batch at most, its padding included."""
        return self.batch_tokens or self.batch_size * self.max_seq_length

    def as_dict(self) -> dict[str, Any]:
        """Return all fields, for JSON."""
        return asdict(self)

    def _out_of_range(self) -> list[str]:
        rules = [
            *((name, _is_whole, 1, "is at least 1") for name in _AT_LEAST_ONE),
            *((name, _is_whole, 1, "is at least 1, or None") for name in _AT_LEAST_ONE_IF_SET if getattr(self, name) is not None),
            *((name, _is_whole, 0, "is at least 0") for name in _WHOLE_NOT_NEGATIVE),
            *((name, _is_number, 0, "is not negative") for name in _NOT_NEGATIVE),
        ]
        faults = [f"{name}={getattr(self, name)!r}, but it {rule}" for name, is_kind, least, rule in rules if not is_kind(value := getattr(self, name)) or value < least]
        faults += [f"{name}={getattr(self, name)!r}, but it is above 0" for name in _POSITIVE if not _is_number(getattr(self, name)) or getattr(self, name) <= 0]
        faults += [f"{name}={getattr(self, name)!r}, but it lies in [0, 1)" for name in _SHARES if not _is_number(getattr(self, name)) or not 0 <= getattr(self, name) < 1]
        if not _is_number(self.warmup_ratio) or not 0 <= self.warmup_ratio <= 1:
            faults.append(f"warmup_ratio={self.warmup_ratio!r}, but it lies in [0, 1]")
        if self.max_minutes is not None and not (_is_number(self.max_minutes) and self.max_minutes > 0):
            faults.append(f"max_minutes={self.max_minutes!r}, but it is above 0, or None")
        return faults

    def _wrong_words(self) -> list[str]:
        faults = [
            f"{name}={getattr(self, name)!r}, but it is one of {', '.join(get_args(words))}"
            for name, words in (("batching", Batching), ("schedule", Schedule))
            if getattr(self, name) not in get_args(words)
        ]
        modules: Any = self.target_modules
        if modules != ALL_LINEAR and not (isinstance(modules, list) and modules and all(isinstance(name, str) and name for name in modules)):
            faults.append(f"target_modules={modules!r}, but it is a list of layers' names, or {ALL_LINEAR!r}")
        return faults


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
