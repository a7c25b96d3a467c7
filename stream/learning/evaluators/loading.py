"""Making an evaluator of what a setting names."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from stream.errors import EvaluationError
from stream.learning.evaluators.command import TIME_LIMIT_S, CommandEvaluator
from stream.learning.evaluators.function import FunctionEvaluator
from stream.learning.gate.scores import Scores

COMMAND = "command:"


class Evaluator(Protocol):
    """Scores a configuration."""

    @property
    def sees_folder(self) -> bool:
        """Whether it can score a configuration that is not live."""

    def evaluate(self, folder: Path, *, limit: int) -> Scores:
        """Score the configuration in a folder.

        Args:
            folder: as the live configuration's, one file an agent.
            limit: samples that are wanted at most; the same ones at every call, so that they can be paired.

        Raises:
            EvaluationError: it gives nothing that can be weighed.
        """


def load(spec: str, *, time_limit_s: float = TIME_LIMIT_S) -> Evaluator:
    """Make an evaluator.

    Args:
        spec: `module:function`, or `command: PROGRAM ARGUMENTS`.
        time_limit_s: of a command; a function ends when it ends.

    Raises:
        EvaluationError: there is nothing of that name, or it cannot be called.
    """
    if spec.startswith(COMMAND):
        return CommandEvaluator(spec.removeprefix(COMMAND), time_limit_s=time_limit_s)
    module, _, name = spec.partition(":")
    if not module or not name:
        raise EvaluationError(f"the evaluator is {spec!r}, but it must be `module:function` or `command: PROGRAM ARGUMENTS`; correct EDDY_EVALUATOR")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise EvaluationError(f"the evaluator {spec!r} cannot be imported ({exc}), but its module must be on the Python path and have it; install it where Eddy runs") from exc
    if not callable(function):
        raise EvaluationError(f"the evaluator {spec!r} is a {type(function).__name__}, but it must be a function; name one")
    return FunctionEvaluator(function)
