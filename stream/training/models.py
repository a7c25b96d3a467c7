"""Base models and tokenizers, from a folder or the local cache: without code of theirs and without pickles; and the adapter put into one."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from stream.errors import ModelMissingError, TrainingError
from stream.training.availability import require
from stream.training.config import LoRATrainingConfig

PLAIN_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "*.safetensors", "*.safetensors.index.json")
"""What a base model is told apart by, and all that is read of it."""


def choose_device(asked: str | None = None) -> str:
    """Return the device asked for, else the first of cuda, mps and cpu that there is.

    Raises:
        TrainingError: torch does not know the device, or it is not there.
    """
    import torch

    if asked is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=asked)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        raise TrainingError(f"the device {asked!r} was asked for, but torch says {str(exc).splitlines()[0]!r}; leave it out to take the best there is") from exc
    return asked


def own_randomness(device: str) -> AbstractContextManager[None]:
    """Let what draws inside change nothing of what draws outside, on the processor and on this run's card."""
    import torch

    drawn: AbstractContextManager[None] = torch.random.fork_rng(devices=[torch.device(device)] if device.startswith("cuda") else [])
    return drawn


def load_tokenizer(model_name: str) -> Any:
    """Load a model's tokenizer.

    Raises:
        ModelMissingError: its files are not on this machine.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model_name, trust_remote_code=False)
    except (OSError, ValueError) as exc:
        raise _missing(model_name, exc) from exc


def load_base(model_name: str, config: LoRATrainingConfig, device: str) -> Any:
    """Load a model's weights, bfloat16 on CUDA and float32 elsewhere.

    Raises:
        ModelMissingError: its files are not on this machine.
        MissingExtraError: 4 bits were asked for, but bitsandbytes is not installed.
        TrainingError: 4 bits were asked for on another device than CUDA.
    """
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": torch.bfloat16 if device.startswith("cuda") else torch.float32, "use_safetensors": True, "trust_remote_code": False}
    if config.use_4bit:
        options |= _four_bits(device)
    try:
        model = AutoModelForCausalLM.from_pretrained(model_name, **options)
    except (OSError, ValueError) as exc:
        raise _missing(model_name, exc) from exc
    return model if config.use_4bit else model.to(device)


def _four_bits(device: str) -> dict[str, Any]:
    """Experimental: no test of ours has run it, for want of a card."""
    require("bitsandbytes", purpose="use_4bit (QLoRA)", extra="bitsandbytes")
    if not device.startswith("cuda"):
        raise TrainingError(f"use_4bit was asked for on {device}, but QLoRA runs on CUDA only; leave use_4bit out, or train on a machine with a card")
    import torch
    from transformers import BitsAndBytesConfig

    quantised = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
    return {"quantization_config": quantised, "device_map": {"": device}}


def _missing(model_name: str, exc: Exception) -> Exception:
    first = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
    if not Path(model_name).exists() and (os.sep * 2 in model_name or model_name.startswith((os.sep, ".", "~")) or model_name.count("/") > 1):
        return ModelMissingError(f"there is no folder {model_name}, but a model is read from it; give the path of a folder with config.json, tokenizer.json and *.safetensors")
    if Path(model_name).is_dir():
        return ModelMissingError(
            f"the model in {model_name} cannot be read ({first[:300]}), but it has config.json, tokenizer.json and *.safetensors in a form that transformers knows; fetch it whole"
        )
    return ModelMissingError(
        f"the model {model_name!r} is no folder and is not in the local cache ({first[:200]}), but training needs its files; "
        f"fetch it with `hf download {model_name}` where there is a network, or give the path of a folder that has config.json, tokenizer.json and *.safetensors"
    )


def put_adapter_in(model: Any, config: LoRATrainingConfig) -> Any:
    """Wrap a base model with a new adapter, drawn from the config's seed.

    The adapter's weights are float32 whatever the base is: a step of 2e-5 is lost in bfloat16's eight bits.

    Raises:
        TrainingError: no layer of the model has one of the names asked for.
    """
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if config.use_4bit:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=config.target_modules,
        use_dora=config.use_dora,
        bias="none",
        task_type="CAUSAL_LM",
    )
    model.config.use_cache = False
    with own_randomness(str(model.device)):
        torch.manual_seed(config.seed)
        try:
            wrapped = get_peft_model(model, lora, autocast_adapter_dtype=True)
        except ValueError as exc:
            linear = sorted({name.rpartition(".")[2] for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)})
            raise TrainingError(f"target_modules={config.target_modules!r} fit no layer, but the model's linear ones are {', '.join(linear)}; name some or 'all-linear'") from exc
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return wrapped


def describe(model_name: str, model: Any) -> dict[str, Any]:
    """Name a base model for whoever must load the same one: where it came from, its revision and the SHA-256 of its files."""
    revision = getattr(model.config, "_commit_hash", None) or ""
    folder = Path(model_name)
    return {"name": model_name, "revision": revision, "sha256": digest_of(folder) if folder.is_dir() else revision, "parameters": sum(p.numel() for p in model.parameters())}


def digest_of(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of a model folder's files."""
    whole = hashlib.sha256()
    for path in sorted({path for pattern in PLAIN_FILES for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            whole.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
