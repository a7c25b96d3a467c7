"""The training names without torch: the config's fields and rules, and that nothing heavy is imported for them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from stream.errors import EddyError
from stream.learning import LoRATrainingConfig

SEED_DEFAULTS = {
    "lora_rank": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "target_modules": ["q_proj", "v_proj"],
    "num_epochs": 3,
    "batch_size": 4,
    "learning_rate": 2e-5,
    "weight_decay": 0.01,
    "warmup_ratio": 0.1,
    "max_grad_norm": 1.0,
    "max_seq_length": 2048,
    "use_4bit": False,
    "output_dir": "checkpoints/lora",
    "save_every_n_epochs": 1,
    "gradient_checkpointing": True,
}
"""The seed's reference page, in its order."""

WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "peft", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from stream.learning import HAS_TORCH, LoRATrainer, LoRATrainingConfig
print(HAS_TORCH, LoRATrainingConfig().lora_rank)
try:
    LoRATrainer(LoRATrainingConfig())
except ImportError as exc:
    print(exc)
"""


def test_config_has_the_seeds_fields_and_defaults() -> None:
    """A caller that names fields, or counts them off by position, finds them where they were."""
    config = LoRATrainingConfig()

    assert [each.name for each in fields(config)][: len(SEED_DEFAULTS)] == list(SEED_DEFAULTS)
    assert {name: getattr(config, name) for name in SEED_DEFAULTS} == SEED_DEFAULTS


def test_configs_do_not_share_their_lists() -> None:
    """A list that is a default once for all would carry one run's layers into the next."""
    LoRATrainingConfig().target_modules.append("o_proj")  # type: ignore[union-attr]

    assert LoRATrainingConfig().target_modules == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lora_rank", 0),
        ("lora_rank", 1.5),
        ("lora_rank", True),
        ("num_epochs", 0),
        ("batch_size", 0),
        ("save_every_n_epochs", 0),
        ("max_seq_length", -1),
        ("learning_rate", -1e-4),
        ("learning_rate", float("nan")),
        ("lora_alpha", 0),
        ("max_grad_norm", 0),
        ("lora_dropout", 1.0),
        ("warmup_ratio", 1.1),
        ("weight_decay", float("inf")),
        ("held_out_ratio", 1.0),
        ("replay_share", -0.1),
        ("early_stopping_patience", -1),
        ("max_steps", 0),
        ("max_minutes", 0),
        ("max_minutes", "10"),
        ("seed", "0"),
        ("batching", "sorted"),
        ("schedule", "step"),
        ("target_modules", []),
        ("target_modules", "q_proj"),
    ],
)
def test_config_refuses_a_value_and_names_its_field(name: str, value: object) -> None:
    """The seed took a batch size of 0 and a negative learning rate, and fell over them later or never."""
    with pytest.raises(ValueError, match=name) as caught:
        LoRATrainingConfig(**{name: value})  # type: ignore[arg-type]

    assert isinstance(caught.value, EddyError)


def test_config_names_all_faults_at_once() -> None:
    """Whoever corrects one fault after the other runs a program as often as it has faults."""
    with pytest.raises(ValueError, match=r"num_epochs.*learning_rate.*batching"):
        LoRATrainingConfig(num_epochs=0, learning_rate=0, batching="?")  # type: ignore[arg-type]


def test_learning_imports_without_importing_torch() -> None:
    """The base installation has no torch, and where it is installed it takes seconds to import."""
    script = "import sys; from stream.learning import HAS_TORCH, LoRATrainer, LoRATrainingConfig; print({'torch', 'transformers', 'peft'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr


def test_trainer_without_torch_says_what_to_install() -> None:
    """The config is there without torch, and the trainer says what is missing, as an ImportError like the seed's."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.splitlines() == ["False 16", "torch cannot be imported, but LoRATrainer needs it; run `pip install 'eddy-loop[train]'`"], done.stderr
