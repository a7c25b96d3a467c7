"""Reading scores off what an evaluator returned or printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from stream.errors import EvaluationError
from stream.learning.gate.scores import Scores

FORMS = 'one number, a number a line, or {"id": "…", "score": …} a line'
SHOWN = 200
"""Characters of a bad line that an error shows."""


def scores_of(found: Any) -> Scores:
    """Read what a function returned.

    Args:
        found: a number; scores by sample id; or scores in the order of the samples, each a number or a pair of id and score.

    Raises:
        EvaluationError: it is something else, or a score is outside of its range.

    Example:
        >>> scores_of(0.7).single, scores_of({"a": 1, "b": 0.5}).by_id, scores_of([True, 0.5]).by_id
        (0.7, {'a': 1.0, 'b': 0.5}, {'1': 1.0, '2': 0.5})
    """
    if isinstance(found, Scores):
        return found
    if isinstance(found, int | float):
        return Scores(single=float(found))
    if isinstance(found, Mapping):
        return _by_id(found.items())
    if isinstance(found, Iterable) and not isinstance(found, str | bytes):
        return _by_id(_with_id(place, each) for place, each in enumerate(found, 1))
    raise EvaluationError(f"the evaluator returned {_shown(found)}, but it must be a number, scores by sample id, or a list of scores; change what it returns")


def scores_in(text: str) -> Scores:
    """Read what a command printed.

    Args:
        text: `FORMS`; empty lines are left out.

    Raises:
        EvaluationError: a line is something else, two have one id, or a score is outside of its range.

    Example:
        >>> scores_in("0.7").single, scores_in('{"id": "a", "score": 1}').by_id
        (0.7, {'a': 1.0})
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    found = [_read(number, line) for number, line in lines]
    if len(found) == 1 and not isinstance(found[0], tuple):
        return Scores(single=found[0])
    if len({isinstance(each, tuple) for each in found}) > 1:
        raise EvaluationError("some lines are numbers and some name their sample, but samples are paired either by place or by id; print one form on all lines")
    return _by_id(_with_id(place, each) for place, each in enumerate(found, 1))


def _read(number: int, line: str) -> float | tuple[str, float]:
    """Read a line: a number, or an id and a score."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and isinstance(said.get("id"), str | int) and _is_number(said.get("score")):
        return str(said["id"]), float(said["score"])
    if _is_number(said):
        return float(said)
    raise EvaluationError(f"line {number} is {_shown(line)}, but scores are printed as {FORMS}; print everything else to stderr")


def _by_id(pairs: Iterable[tuple[Any, Any]]) -> Scores:
    found: dict[str, float] = {}
    for name, score in pairs:
        if not isinstance(score, int | float):
            raise EvaluationError(f"sample {_shown(name)} scores {_shown(score)}, but a score is a number in [0, 1]; return one for every sample")
        if str(name) in found:
            raise EvaluationError(f"sample {_shown(name)} is scored twice, but samples are told apart by their ids; give each its own")
        found[str(name)] = float(score)
    return Scores(found)


def _with_id(place: int, each: Any) -> tuple[Any, Any]:
    """Name a score that has no id after its place."""
    return (each[0], each[1]) if isinstance(each, tuple | list) and len(each) == 2 else (str(place), each)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
