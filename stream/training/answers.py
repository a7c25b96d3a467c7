"""What a model answers, with its adapter and without: the scores that a gate may look at, since a lower loss alone promotes nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from stream.training.conversation import Conversation
from stream.training.turns import ChatTemplate

Score = Callable[[str, str], float]
"""Given an answer and the one that was wanted: in [0, 1]."""

RESAMPLES = 2000
"""Of the bootstrap: enough for the second digit of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Scores of the same queries, without and with the adapter, as `stream.learning.gate.Scores` takes them.

    Attributes:
        base: by the query's id.
        adapter: by the query's id.
    """

    base: Mapping[str, float]
    adapter: Mapping[str, float]

    def gain(self, *, seed: int = 0) -> tuple[float, float, float]:
        """Return the mean gain between the ends of its 95 % interval: (low, mid, high), by a percentile bootstrap over queries."""
        differences = [self.adapter[query] - self.base[query] for query in sorted(self.base)]
        if not differences:
            return 0.0, 0.0, 0.0
        rng, n = random.Random(seed), len(differences)
        means = sorted(math.fsum(rng.choices(differences, k=n)) / n for _ in range(RESAMPLES))
        return means[int(0.025 * RESAMPLES)], math.fsum(differences) / n, means[int(0.975 * RESAMPLES)]

    def as_dict(self) -> dict[str, Any]:
        """Return the means and the gain, for JSON."""
        low, mid, high = self.gain()
        n = max(1, len(self.base))
        return {"n": len(self.base), "base": math.fsum(self.base.values()) / n, "adapter": math.fsum(self.adapter.values()) / n, "gain": [low, mid, high]}


def by_query(scores: Mapping[int, float], conversations: Mapping[int, Conversation]) -> dict[str, float]:
    """Return the mean score of each query: two answers to one are no two pieces of evidence.

    Args:
        scores: in [0, 1], by the conversation's place.
        conversations: by place.
    """
    found: dict[str, list[float]] = {}
    for place, score in scores.items():
        found.setdefault(conversations[place].query_id, []).append(score)
    return {query: math.fsum(values) / len(values) for query, values in found.items()}


def exact_match(answer: str, wanted: str) -> float:
    """Return 1 where both have the same words, whatever stands between them.

    Example:
        >>> exact_match("SELECT  1 ", "SELECT 1"), exact_match("SELECT 2", "SELECT 1")
        (1.0, 0.0)
    """
    return float(answer.split() == wanted.split())


def score_answers(
    model: Any,
    tokenizer: Any,
    conversations: Mapping[int, Conversation],
    *,
    score: Score = exact_match,
    settings: dict[str, Any] | None = None,
    max_new_tokens: int = 256,
    on_answer: Callable[[int, int], None] = lambda done, of: None,
) -> Paired:
    """Let a model answer the last turn of conversations, greedily, with its adapter and without, and score it against what was said there.

    Args:
        model: of peft, with the adapter in it.
        tokenizer: of the model.
        conversations: by place; none that ends with a tool call alone is scored.
        score: of an answer.
        settings: what the chat template is told besides.
        max_new_tokens: of an answer; it is scored as it stands then.
        on_answer: told how many of how many answers are there.
    """
    asked = {place: conversation for place, conversation in conversations.items() if conversation.messages[-1]["content"].strip()}
    found: tuple[dict[int, float], dict[int, float]] = ({}, {})
    done = 0
    for scores, without in zip(found, (model.disable_adapter, _as_it_is), strict=True):
        with without():
            for place, conversation in asked.items():
                answer = generate(model, tokenizer, conversation.messages[:-1], tools=conversation.tools, settings=settings, max_new_tokens=max_new_tokens)
                scores[place] = min(1.0, max(0.0, float(score(answer, conversation.messages[-1]["content"]))))
                done += 1
                on_answer(done, 2 * len(asked))
    return Paired(*(by_query(scores, asked) for scores in found))


def _as_it_is() -> AbstractContextManager[None]:
    return nullcontext()


def generate(
    model: Any, tokenizer: Any, messages: Sequence[dict[str, Any]], *, tools: Sequence[dict[str, Any]] = (), settings: dict[str, Any] | None = None, max_new_tokens: int = 256
) -> str:
    """Return a model's most likely answer to messages, without its control tokens."""
    import torch

    text = ChatTemplate(tokenizer, settings).render(messages, tools, with_prompt=True)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]], device=model.device)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        )
    model.train(was_training)
    return str(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True))
