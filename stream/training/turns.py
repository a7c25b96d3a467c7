"""Where in a conversation's text the assistant speaks, told by the model's own chat template.

What follows the generation prompt is what a model has to write by itself: a turn begins where the conversation before it, rendered with
the generation prompt, ends. That needs no generation marks in the template, and is the same where there are some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream.errors import TrainingDataError
from stream.training.conversation import Conversation

FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
"""For tokenizers that have none: the seed's tags, each on a line of its own."""

_PROBES = ("0", "z")
"""Two answers with nothing in common: what both have before them is not an answer's."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A text to train on.

    Attributes:
        text: as the template writes it.
        turns: character ranges [begin, end) of the assistant's turns, each with its end-of-turn token.
    """

    text: str
    turns: tuple[tuple[int, int], ...]


class ChatTemplate:
    """A tokenizer's chat template.

    Args:
        tokenizer: of the model.
        settings: what the template is told besides.
    """

    def __init__(self, tokenizer: Any, settings: dict[str, Any] | None = None) -> None:
        self._tokenizer = tokenizer
        self._settings = settings or {}
        self.is_fallback = not tokenizer.chat_template
        self.ends = tuple(sorted({*map(str, tokenizer.all_special_tokens)} - {""}, key=len, reverse=True))

    def render(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = (), *, with_prompt: bool = False) -> str:
        """Write messages as one text.

        Args:
            messages: of a conversation.
            tools: schemas.
            with_prompt: add what stands before an answer.

        Raises:
            TrainingDataError: the template refuses them.
        """
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) or None,
                chat_template=FALLBACK_TEMPLATE if self.is_fallback else None,
                tokenize=False,
                add_generation_prompt=with_prompt,
                **self._settings,
            )
        except Exception as exc:  # a template is a program of the model's, and raises what it likes
            raise TrainingDataError("template", f"the chat template says {str(exc)[:200]!r} of roles {[message['role'] for message in messages]}, but it must take them") from exc
        return text

    def renderings(self, conversation: Conversation) -> list[Rendering]:
        """Write a conversation, and find the assistant's turns in it.

        A template that writes an earlier turn otherwise once later ones have come (Qwen3 takes past thinking out) gives one text a turn, each as
        the model stood before it; every other one gives a single text.

        Raises:
            TrainingDataError: the template refuses it, or a text in it holds the model's control tokens.
        """
        self._check(conversation)
        places = [place for place, message in enumerate(conversation.messages) if message["role"] == "assistant"]
        turns = [self._turn(conversation, place) for place in places]
        whole = turns[-1].text
        wanted = [turn for place, turn in zip(places, turns, strict=True) if place not in conversation.untrained]
        if all(whole.startswith(turn.text[: turn.turns[0][1]]) for turn in turns):
            return [Rendering(whole, tuple(turn.turns[0] for turn in wanted))]
        return wanted

    def _turn(self, conversation: Conversation, place: int) -> Rendering:
        messages, tools = conversation.messages, conversation.tools
        text = self.render(messages[: place + 1], tools)
        begin = self._begin(messages[:place], tools, text)
        end = begin + len(text[begin:].rstrip()) if text[begin:].rstrip().endswith(self.ends) else len(text)
        if place == len(messages) - 1 and end == len(text) and not text.endswith(self.ends):
            text += self._tokenizer.eos_token or ""
            end = len(text)
        return Rendering(text, ((begin, end),))

    def _begin(self, before: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], text: str) -> int:
        """Find where an answer begins: behind the generation prompt, or where the template writes that otherwise than the turn itself, behind what any answer has before it."""
        prompt = self.render(before, tools, with_prompt=True)
        if text.startswith(prompt):
            return len(prompt)
        probes = [self.render([*before, {"role": "assistant", "content": probe}], tools) for probe in _PROBES]
        begin = len(_common([text, *probes]))
        if begin < len(_common([text, self.render(before, tools)])) or begin == 0:
            raise TrainingDataError("template", "the chat template writes what came before an answer otherwise once the answer has come, but then nobody can tell where it begins")
        return begin

    def _check(self, conversation: Conversation) -> None:
        if found := next((token for token in self.ends if token in str(conversation.tools)), None):
            raise TrainingDataError("control_token", f"the tools hold {found!r}, but that is a control token, which would end or begin a turn; leave the pair out")
        for place, message in enumerate(conversation.messages):
            said = f"{message['content']}{message.get('reasoning_content', '')}{message.get('name', '')}{message.get('tool_calls', '')}"
            if found := next((token for token in self.ends if token in said), None):
                raise TrainingDataError("control_token", f"message {place} holds {found!r}, but that is a control token, which would end or begin a turn; leave the pair out")


def _common(texts: Sequence[str]) -> str:
    """Return the longest beginning that all texts have."""
    least, most = min(texts), max(texts)
    return least[: next((place for place, (one, other) in enumerate(zip(least, most, strict=False)) if one != other), len(least))]
