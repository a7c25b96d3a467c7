"""From pairs to token ids and what of them is trained on, with a count of all that is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from stream.errors import TrainingDataError, TrainingError
from stream.training.conversation import Conversation, read_pair
from stream.training.turns import ChatTemplate, Rendering

IGNORED = -100
"""The label of a token that is not trained on, as torch's cross entropy has it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One text in tokens.

    Attributes:
        input_ids: tokens.
        labels: the same, `IGNORED` where the assistant does not speak.
        text: what the tokens were made of.
        weight: of its tokens in the loss.
        trace_id: of the trace that it came from; empty: not known.
        pair: place of its pair in what was given.
    """

    input_ids: list[int]
    labels: list[int]
    text: str
    weight: float = 1.0
    trace_id: str = ""
    pair: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def supervised_tokens(self) -> int:
        """Tokens that are trained on; the first of a text never is, since nothing stands before it."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(slots=True)
class Refusals:
    """What was left out, and why.

    Attributes:
        counts: samples by reason.
        first: for each reason, the sentence of the first.
        cut: samples that lost later turns, since they were too long.
        cut_turns: turns that were lost so.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    cut_turns: int = 0

    def add(self, exc: TrainingDataError, pair: int) -> None:
        """Count one."""
        self.counts[exc.reason] += 1
        self.first.setdefault(exc.reason, f"pair {pair}: {exc}")

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"refused": dict(self.counts), "first": dict(self.first), "cut": self.cut, "cut_turns": self.cut_turns}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples, what they came from and what was left out.

    Attributes:
        samples: to train on, in the pairs' order.
        conversations: by their pair's place, those that were read.
        refusals: what was left out.
    """

    samples: list[Sample]
    conversations: dict[int, Conversation]
    refusals: Refusals

    @property
    def supervised_tokens(self) -> int:
        """Of all samples."""
        return sum(sample.supervised_tokens for sample in self.samples)

    def only(self, places: Set[int]) -> Dataset:
        """Return what some pairs gave; what was left out stays with `without`."""
        return Dataset([sample for sample in self.samples if sample.pair in places], {place: c for place, c in self.conversations.items() if place in places}, Refusals())

    def without(self, places: Set[int]) -> Dataset:
        """Return what the other pairs gave."""
        kept = self.only(self.conversations.keys() - places)
        return Dataset(kept.samples, kept.conversations, self.refusals)

    def summary(self) -> dict[str, Any]:
        """Return its counts, for JSON."""
        tokens = sum(map(len, self.samples))
        return {"samples": len(self.samples), "tokens": tokens, "supervised_tokens": self.supervised_tokens, **self.refusals.as_dict()}


def build(pairs: Iterable[Mapping[str, Any]], tokenizer: Any, *, max_tokens: int, weight_by_feedback: bool = False, settings: dict[str, Any] | None = None) -> Dataset:
    """Tokenize pairs.

    Args:
        pairs: see `stream.training.conversation.read_pair`.
        tokenizer: a fast one of transformers.
        max_tokens: a longer sample loses its last turns, or is refused where the first does not fit.
        weight_by_feedback: weigh samples by their pair's rating.
        settings: what the chat template is told besides.

    Raises:
        TrainingError: the tokenizer does not say which characters a token stands for.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise TrainingError(f"the tokenizer {type(tokenizer).__name__} gives no offsets, but an answer's tokens are found by them; use the model's fast one (tokenizer.json)")
    template, refusals = ChatTemplate(tokenizer, settings), Refusals()
    samples: list[Sample] = []
    conversations: dict[int, Conversation] = {}
    for place, pair in enumerate(pairs):
        try:
            conversation = conversations[place] = read_pair(pair, weight_by_feedback=weight_by_feedback)
            renderings = template.renderings(conversation)
        except TrainingDataError as exc:
            refusals.add(exc, place)
            continue
        samples += _fitting(renderings, conversation, place, tokenizer, max_tokens, refusals)
    return Dataset(samples, conversations, refusals)


def _fitting(renderings: Sequence[Rendering], conversation: Conversation, place: int, tokenizer: Any, max_tokens: int, refusals: Refusals) -> list[Sample]:
    made = []
    for rendering in renderings:
        try:
            ids, labels, text = _tokenized(rendering, tokenizer, max_tokens, refusals)
            made.append(Sample(ids, labels, text, conversation.weight, conversation.trace_id, place))
        except TrainingDataError as exc:
            refusals.add(exc, place)
    return made


def _tokenized(rendering: Rendering, tokenizer: Any, max_tokens: int, refusals: Refusals) -> tuple[list[int], list[int], str]:
    encoded = tokenizer(rendering.text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
    ids, offsets, turns, text = list(encoded["input_ids"]), list(encoded["offset_mapping"]), rendering.turns, rendering.text
    if len(ids) > max_tokens:
        ids, offsets, turns, text = _cut(ids, offsets, rendering, max_tokens)
        refusals.cut += 1
        refusals.cut_turns += len(rendering.turns) - len(turns)
    labels = label(ids, offsets, turns)
    if all(each == IGNORED for each in labels[1:]):
        raise TrainingDataError("no_trainable_token", "no token lies wholly in an answer, but those are what is trained on; leave the pair out")
    return ids, labels, text


def _cut(ids: list[int], offsets: list[tuple[int, int]], rendering: Rendering, max_tokens: int) -> tuple[list[int], list[tuple[int, int]], tuple[tuple[int, int], ...], str]:
    reach = offsets[max_tokens - 1][1] if offsets[max_tokens][0] >= offsets[max_tokens - 1][1] else offsets[max_tokens - 1][0]
    turns = tuple(turn for turn in rendering.turns if turn[1] <= reach)
    if not turns:
        raise TrainingDataError("too_long", f"a sample has {len(ids)} tokens and its first answer ends behind token {max_tokens}, but max_seq_length is {max_tokens}; raise it")
    kept = sum(1 for _, end in offsets if end <= turns[-1][1])
    return ids[:kept], offsets[:kept], turns, rendering.text[: turns[-1][1]]


def label(ids: Sequence[int], offsets: Sequence[tuple[int, int]], turns: Sequence[tuple[int, int]]) -> list[int]:
    """Return the labels of a text's tokens.

    A token is trained on if all its characters are the assistant's. One that begins before an answer and ends in it is not: where the
    model answers, the prompt is a text of its own, and such a token cannot come.

    Example:
        >>> label([7, 8, 9], [(0, 4), (4, 6), (6, 9)], [(4, 9)])
        [-100, 8, 9]
    """
    labels, remaining = [IGNORED] * len(ids), list(reversed(turns))
    for place, (begin, end) in enumerate(offsets):
        while remaining and begin >= remaining[-1][1] and end > remaining[-1][1]:
            remaining.pop()
        if remaining and begin >= remaining[-1][0] and end <= remaining[-1][1] and end > begin:
            labels[place] = ids[place]
    return labels


def total_weight(samples: Iterable[Sample]) -> float:
    """Add up the weights of all supervised tokens."""
    return math.fsum(sample.weight * sample.supervised_tokens for sample in samples)
