"""An evaluator that is a Python function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stream.learning.evaluators.reading import scores_of
from stream.learning.gate.scores import Scores


class FunctionEvaluator:
    """Calls a function.

    Args:
        function: takes the folder of the configuration that it is to score, or nothing: then it scores whatever is live, as the seed's `eval_fn`.
            One that has a parameter `limit` is told how many samples are wanted at most. It returns what `scores_of` reads.

    Attributes:
        sees_folder: whether it can score a configuration that is not live.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        parameters = inspect.signature(function).parameters.values()
        self.sees_folder = any(each.name != "limit" and each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD) for each in parameters)
        self._takes_limit = any(each.name == "limit" for each in parameters)

    def evaluate(self, folder: Path, *, limit: int) -> Scores:
        """Score a configuration; what the function raises is raised."""
        named = {"limit": limit} if self._takes_limit else {}
        return scores_of(self._function(*([folder] if self.sees_folder else []), **named))
