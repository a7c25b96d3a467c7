"""Models small enough for a test: a Llama of some 10^5 weights, and a tokenizer trained on the texts it will see. No hub is asked for anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def make_tokenizer(texts: Iterable[str], *, words: int = 800, control: Sequence[str] = CONTROL, template: str | None = CHATML, eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=words, special_tokens=list(control), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, pad_token=control[0], additional_special_tokens=[each for each in control if each != eos])
    made.chat_template = template
    return made


def make_model(words: int, *, width: int = 64, layers: int = 2, seed: int = 0, **settings: Any) -> LlamaForCausalLM:
    """Make a Llama with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=width * 3,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        **settings,
    )
    return LlamaForCausalLM(config)


def save_tiny(folder: Path, texts: Iterable[str], **settings: Any) -> Path:
    """Write a tiny model and its tokenizer as a folder that a trainer can be pointed to."""
    tokenizer = make_tokenizer(texts)
    model = make_model(len(tokenizer), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None, **settings)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
