"""Answers to held-out questions, scored against those that are known to be good: what an adapter, or any other model, is judged by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stream.learning.gate.scores import Scores

Grade = Callable[[str, str], float]
"""Scores an answer in [0, 1] against the reference, which comes second."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Question:
    """A question with a good answer.

    Attributes:
        id: of the sample.
        query: what is asked.
        reference: the good answer.
    """

    id: str
    query: str
    reference: str


def token_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of the shares of words that answer and reference have in common, regardless of case and order.

    Source:
        P. Rajpurkar et al., SQuAD, EMNLP 2016. Departures: articles count as words.

    Example:
        >>> round(token_f1("Paris, France", "paris"), 3), token_f1("", "")   # 2 · (1/2 · 1) / (1/2 + 1)
        (0.667, 1.0)
    """
    said, wanted = (Counter(_WORD.findall(text.casefold())) for text in (answer, reference))
    if not said or not wanted:
        return float(said == wanted)
    return 2 * (said & wanted).total() / (said.total() + wanted.total())


def exact_match(answer: str, reference: str) -> float:
    """Return 1 where both have the same words in the same order, regardless of case, else 0.

    Example:
        >>> exact_match(" paris.", "Paris"), exact_match("Lyon", "Paris")
        (1.0, 0.0)
    """
    said, wanted = (_WORD.findall(text.casefold()) for text in (answer, reference))
    return float(said == wanted if said or wanted else answer.strip() == reference.strip())


def score_answers(answer: Callable[[str], str], questions: Iterable[Question], *, grade: Grade = token_f1) -> Scores:
    """Have questions answered and score the answers.

    Args:
        answer: gives the answer to a query.
        questions: held out: of the split `test`, so that nothing was learned from them.
        grade: scores an answer against the reference.
    """
    return Scores({each.id: grade(answer(each.query), each.reference) for each in questions})
