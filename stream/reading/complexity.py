"""How complex a query looks, by cheap signals of its text, as the seed scores it; and how many tokens an answer may take."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stream.reading.query_class import folded, is_code, is_math

_FLAGS = re.IGNORECASE
_MORE_CODE = re.compile(r"\b(?:const|var|let)\s|\bif\s*\(|->|=>|\{\s*\}|\bfor\s+\w+\s+in\s|#include|System\.out", _FLAGS)
_MORE_MATH = re.compile(r"\b(?:proof|derivative|matrix|theorem|sigma|sum|limit|probability)\b", _FLAGS)
_REASONING = re.compile(r"\b(?:explain|analyze|compare|why|step[- ]by[- ]step|reason|think|pros and cons|trade[- ]?offs?|evaluate)\b", _FLAGS)
_STEPS = re.compile(r"\bstep\s*\d|\b(?:and also|additionally|furthermore)\b|\d\.\s", _FLAGS)
_CREATES = re.compile(r"\b(?:create|design|draft|compose)\b", _FLAGS)
_LIST_ITEM = re.compile(r"^[^\S\n]*(?:\d+[.)]|[-*])\s", re.MULTILINE)


def _word(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", _FLAGS)


_ONE_THEN_OTHER = ((_word("then"), _word("then")), (_word("first"), _word("next")))
_TO_BE_WRITTEN = ((_word("write"), _word("essay", "story", "article", "report", "poem")), (_word("generate"), _word("code", "script", "program")))
"""Words that count where the second follows the first; looked for one after the other, since one pattern for both takes time that grows with the square."""

_LENGTHS = ((20, 0.0), (100, 0.3), (300, 0.6), (800, 0.8))
"""Code points below which a query has a sub-score; a longer one has 1."""
_WEIGHTS = {"length": 0.20, "domain": 0.25, "reasoning": 0.25, "multi_part": 0.15, "creative": 0.15}
_DOMAINS = {(False, False): 0.0, (True, False): 0.7, (False, True): 0.8, (True, True): 1.0}
"""By whether there is code, and mathematics."""
_REASONINGS = {(False, False): 0.0, (True, False): 0.6, (False, True): 0.8, (True, True): 1.0}
"""By whether there are words of reasoning, and several steps."""
_TIERS = ((0.15, "trivial", 1024), (0.30, "simple", 2048), (0.55, "moderate", 4096), (0.80, "complex", 8192))
"""Scores below which a tier ends, its name, and the tokens of an answer."""
_HIGHEST = ("very_complex", 16_384)
_THINKING = ("qwen3.5", "qwq", "deepseek-r1", "o1-", "o3-", "o4-")
_THINKING_NAME = re.compile(r"(?:^|[/:_\s-])(?:qwen3\.5|qwq|deepseek-r1|o[134]-)", _FLAGS)


@dataclass(frozen=True, slots=True)
class ComplexityResult:
    """What was made of a query.

    Attributes:
        score: in [0, 1], rounded to three digits.
        tier: `trivial`, `simple`, `moderate`, `complex` or `very_complex`.
        suggested_max_tokens: for an answer.
        signals: what the score is made of.
    """

    score: float
    tier: str
    suggested_max_tokens: int
    signals: dict[str, Any]


def has_code(query: str) -> bool:
    """Whether a query has signs of code: more than make it one of the class `code`."""
    return is_code(folded(query)) or _MORE_CODE.search(query) is not None


def has_math(query: str) -> bool:
    """Whether a query has words of mathematics: more than make it one of the class `math`."""
    return is_math(folded(query)) or _MORE_MATH.search(query) is not None


def score_complexity(query: str) -> ComplexityResult:
    """Score a query: a weighted sum of five sub-scores.

    Args:
        query: text of any length, counted in code points.

    Example:
        >>> result = score_complexity("explain why")
        >>> result.score, result.tier, result.suggested_max_tokens
        (0.15, 'simple', 2048)
    """
    signals = _signals(query)
    total = sum(weight * signals[name] for name, weight in _WEIGHTS.items())
    score = min(max(total, 0.0), 1.0)
    tier, tokens = next(((tier, tokens) for below, tier, tokens in _TIERS if score < below), _HIGHEST)
    return ComplexityResult(round(score, 3), tier, tokens, signals)


def _signals(query: str) -> dict[str, Any]:
    code, math = has_code(query), has_math(query)
    reasons = bool(_REASONING.search(query))
    has_steps = bool(_STEPS.search(query)) or _has_one_of(_ONE_THEN_OTHER, query)
    creates = bool(_CREATES.search(query)) or any(_has_one_of(_TO_BE_WRITTEN, line) for line in query.split("\n"))
    questions, subtasks = query.count("?"), len(_LIST_ITEM.findall(query))
    parts = questions + subtasks
    return {
        "length": next((score for below, score in _LENGTHS if len(query) < below), 1.0),
        "domain": _DOMAINS[code, math],
        "has_code": code,
        "has_math": math,
        "reasoning": _REASONINGS[reasons, has_steps],
        "has_reasoning": reasons,
        "has_multi_step": has_steps,
        "multi_part": 0.0 if parts <= 1 else 0.5 if parts <= 3 else 1.0,
        "n_questions": questions,
        "n_subtasks": subtasks,
        "creative": 0.7 if creates else 0.0,
        "has_creative": creates,
    }


def _has_one_of(pairs: Iterable[tuple[re.Pattern[str], re.Pattern[str]]], text: str) -> bool:
    return any((found := first.search(text)) and second.search(text, found.end()) for first, second in pairs)


def is_thinking_model(model: str) -> bool:
    """Whether a model's name has one of a thinking model in it, anywhere, as the seed looks for it: `foo3-mini` counts as one.

    Example:
        >>> is_thinking_model("deepseek-r1-32b"), is_thinking_model("gpt-4o"), is_thinking_model("foo3-mini")
        (True, False, True)
    """
    lowered = model.lower()
    return any(name in lowered for name in _THINKING)


def is_named_as_thinking_model(model: str) -> bool:
    """Whether a model's name, or a part of it after a separator, begins with that of a thinking model.

    Example:
        >>> is_named_as_thinking_model("openai/o3-mini"), is_named_as_thinking_model("foo3-mini")
        (True, False)
    """
    return _THINKING_NAME.search(model) is not None


def adjust_tokens_for_model(tokens: int, model: str | None = None) -> int:
    """Double the tokens for a thinking model, which spends as many before it answers.

    Example:
        >>> adjust_tokens_for_model(1024, "qwq-32b"), adjust_tokens_for_model(1024)
        (2048, 1024)
    """
    return 2 * tokens if model and is_thinking_model(model) else tokens
