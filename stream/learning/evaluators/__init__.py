"""Evaluators: what scores a configuration, so that a gate can judge it.

`load` makes one of what a setting names: `module:function` or `command: …`.
"""

from __future__ import annotations

from stream.learning.evaluators.answers import Question, exact_match, score_answers, token_f1
from stream.learning.evaluators.command import CommandEvaluator
from stream.learning.evaluators.function import FunctionEvaluator
from stream.learning.evaluators.loading import Evaluator, load
from stream.learning.evaluators.reading import scores_of
from stream.learning.gate.scores import Scores

__all__ = ["CommandEvaluator", "Evaluator", "FunctionEvaluator", "Question", "Scores", "exact_match", "load", "score_answers", "scores_of", "token_f1"]
