"""LoRA training. Importing this package imports neither torch, transformers nor peft: what trains is imported when it is used."""

from __future__ import annotations

from stream.training.availability import HAS_TORCH
from stream.training.config import LoRATrainingConfig
from stream.training.lora import LoRATrainer
from stream.training.progress import Progress

__all__ = ["HAS_TORCH", "LoRATrainer", "LoRATrainingConfig", "Progress"]
