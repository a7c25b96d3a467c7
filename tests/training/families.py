"""Four families of chat templates and a marked one, each beside a slow, obvious oracle that writes the same turns by hand and knows who speaks."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
Piece = tuple[str, bool]
"""A piece of a text, and whether a model is trained to write it."""

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '\n<tool_call>' + (call.function | tojson) + '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% generation %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ '\n<tool_call>' + (call.function | tojson) + '</tool_call>' }}{% endfor %}{% endgeneration %}{{ '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{% if m.tool_calls %}{% for call in m.tool_calls %}{{ call.function | tojson }}{% endfor %}{% else %}{{ m.content | trim }}{% endif %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content }}{% for call in m.tool_calls or [] %}{{ '[TOOL_CALLS]' + (call.function | tojson) }}"
    "{% endfor %}{{ eos_token }}{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"
)
THINKING = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > ns.last and (loop.last or m.reasoning_content) %}{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{ m.content | trim }}{% for call in m.tool_calls or [] %}{{ '\n<tool_call>' + (call.function | tojson) + '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template, the control tokens of its tokenizer, and how its turns are written by hand.

    Attributes:
        template: Jinja.
        control: tokens; the first pads.
        eos: the end of a turn.
        bos: before everything; empty: none.
        write: given messages, the texts to train on, in pieces.
    """

    template: str
    control: tuple[str, ...]
    eos: str
    bos: str
    write: Callable[[list[Message]], list[list[Piece]]]


def _calls(message: Message, before: str, after: str) -> str:
    return "".join(f"{before}{json.dumps(call['function'], ensure_ascii=False)}{after}" for call in message.get("tool_calls", []))


def _write_chatml(messages: list[Message]) -> list[list[Piece]]:
    pieces: list[Piece] = []
    for message in messages:
        said = message["content"] + _calls(message, "\n<tool_call>", "</tool_call>")
        pieces += [(f"<|im_start|>{message['role']}\n", False), (f"{said}<|im_end|>", message["role"] == "assistant"), ("\n", False)]
    return [pieces]


def _write_llama(messages: list[Message]) -> list[list[Piece]]:
    pieces: list[Piece] = [("<|begin_of_text|>", False)]
    for message in messages:
        said = _calls(message, "", "") or message["content"].strip()
        pieces += [(f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n", False), (f"{said}<|eot_id|>", message["role"] == "assistant")]
    return [pieces]


def _write_instruct(messages: list[Message]) -> list[list[Piece]]:
    pieces: list[Piece] = [("<s>", False)]
    for message in messages:
        if message["role"] == "assistant":
            pieces.append((f" {message['content']}{_calls(message, '[TOOL_CALLS]', '')}</s>", True))
        else:
            pieces.append((f"[INST] {message['content']} [/INST]", False))
    return [pieces]


def _write_thinking(messages: list[Message]) -> list[list[Piece]]:
    """Every answer as it was given: with the thinking that follows the user's last word, and without any before it."""
    answers = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    texts = [_thinking_until(messages, place) for place in answers]
    whole = "".join(piece for piece, _ in texts[-1])
    if all(whole.startswith("".join(piece for piece, _ in text[:-1])) for text in texts):
        return [[(piece, place in answers and is_spoken) for place, turn in enumerate(_turns_thinking(messages)) for piece, is_spoken in turn]]
    return texts


def _turns_thinking(messages: list[Message]) -> list[list[Piece]]:
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=0)
    turns: list[list[Piece]] = []
    for place, message in enumerate(messages):
        thought = message.get("reasoning_content", "")
        is_thinking = message["role"] == "assistant" and place > last and (thought or place == len(messages) - 1)
        said = (f"<think>\n{thought}\n</think>\n\n" if is_thinking else "") + message["content"].strip() + _calls(message, "\n<tool_call>", "</tool_call>")
        turns.append([(f"<|im_start|>{message['role']}\n", False), (f"{said}<|im_end|>", True), ("\n", False)])
    return turns


def _thinking_until(messages: list[Message], place: int) -> list[Piece]:
    turns = _turns_thinking(messages[: place + 1])
    return [(piece, False) for turn in turns[:-1] for piece, _ in turn] + turns[-1]


_CHATML_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FAMILIES = {
    "chatml": Family(CHATML, _CHATML_CONTROL, "<|im_end|>", "", _write_chatml),
    "marked": Family(MARKED, _CHATML_CONTROL, "<|im_end|>", "", _write_chatml),
    "llama": Family(LLAMA, ("<|pad|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>", "<|begin_of_text|>", _write_llama),
    "instruct": Family(INSTRUCT, ("<pad>", "<s>", "</s>", "[INST]", "[/INST]"), "</s>", "<s>", _write_instruct),
    "thinking": Family(THINKING, _CHATML_CONTROL, "<|im_end|>", "", _write_thinking),
}

_WORDS = "select count name from where pets the größte Zahl 東京 🙂 x=3; <b> don't  two  spaces 1,234.5 [INST tool_call <think> {\"a\": 1} \t tab".split(" ")


def conversation(rng: random.Random) -> list[Message]:
    """Draw a conversation: some turns, some with tools, some with thinking, one time in four with a system's word."""
    messages: list[Message] = [{"role": "system", "content": _text(rng)}] if rng.random() < 0.25 else []
    for _ in range(rng.randint(1, 4)):
        messages.append({"role": "user", "content": _text(rng)})
        for _ in range(rng.choice((0, 0, 1, 2))):
            call = {"type": "function", "function": {"name": "sql", "arguments": {"command": _text(rng), "limit": rng.randint(1, 9)}}}
            messages += [_answer(rng, rng.choice(("", _text(rng)))) | {"tool_calls": [call]}, {"role": "tool", "content": _text(rng), "name": "sql"}]
        messages.append(_answer(rng, _text(rng)))
    return messages


def _answer(rng: random.Random, content: str) -> Message:
    thought = {"reasoning_content": _text(rng)} if rng.random() < 0.4 else {}
    return {"role": "assistant", "content": content} | thought


def _text(rng: random.Random) -> str:
    lines = (" ".join(rng.choices(_WORDS, k=rng.randint(1, 9))) for _ in range(rng.choice((1, 1, 1, 3))))
    return "\n".join(lines).strip() or "?"


def spoken(pieces: list[Piece]) -> list[tuple[int, int]]:
    """Return the character ranges that are trained on."""
    ranges, at = [], 0
    for text, is_spoken in pieces:
        if is_spoken:
            ranges.append((at, at + len(text)))
        at += len(text)
    return ranges
