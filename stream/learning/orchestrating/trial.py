"""Evaluating candidates: each by itself where the evaluator can be handed a folder, else all as one, as the seed does."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.errors import EvaluationError, GateError
from stream.learning.evaluators.reading import scores_of
from stream.learning.evolving import live
from stream.learning.gate import Scores, judge
from stream.learning.gate.threshold import reaches
from stream.learning.orchestrating.candidates import Candidate, texts

ALPHA, MOST_PAIRS = 0.05, 1_000_000
"""Error that one candidate may have, where an evaluator scores samples; all of these are looked at."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What an evaluation said.

    Attributes:
        scores: of what was evaluated.
        passes: whether it may be live.
        reason: why, or why not.
    """

    scores: Scores
    passes: bool
    reason: str


class Trial:
    """Evaluates what is live, and then candidates against it.

    Args:
        eval_fn: takes the folder with the configuration that it scores, or nothing; more is better.
        config_dir: what is live.
        min_improvement: of one number, that lets a candidate through.
        staged: is told the folder that is evaluated, and None afterwards.
    """

    def __init__(self, eval_fn: Callable[..., Any], config_dir: Path, *, min_improvement: float, staged: Callable[[Path | None], None]) -> None:
        self._eval_fn, self._config_dir, self._min_improvement, self._staged = eval_fn, config_dir, min_improvement, staged
        self.sees_folder = takes_folder(eval_fn)

    def scores(self, candidates: Sequence[Candidate] = ()) -> Scores:
        """Score the live configuration as candidates would change it.

        Raises:
            EvaluationError: the evaluator raised, or returned nothing that can be weighed.
        """
        with self._folder(candidates) as folder:
            try:
                return read(self._eval_fn(*([folder] if self.sees_folder else [])))
            except EvaluationError:
                raise
            except Exception as exc:  # whatever a user's evaluator raises says that nothing can be let through
                raise EvaluationError(f"the evaluation failed ({type(exc).__name__}: {exc}), but without its score nothing is promoted; look at eval_fn") from exc

    def judged(self, baseline: Scores, candidates: Sequence[Candidate]) -> Judged:
        """Weigh candidates, together, against a baseline."""
        found = self.scores(candidates)
        if baseline.single is not None and found.single is not None:
            passes = reaches(baseline.single, found.single, self._min_improvement)
            gain = found.single - baseline.single
            return Judged(found, passes, f"eval improvement {gain:.4f} {'reaches' if passes else 'below'} threshold {self._min_improvement}")
        verdict = judge(baseline, found, alpha=ALPHA, max_pairs=MOST_PAIRS, least_gain=self._min_improvement)
        return Judged(found, verdict.is_promotion, verdict.reason)

    @contextmanager
    def _folder(self, candidates: Sequence[Candidate]) -> Iterator[Path]:
        """Lay the configuration out in a folder outside of the live one, which goes afterwards."""
        with tempfile.TemporaryDirectory(prefix="eddy-staged-") as made:
            folder = live.copy_with(self._config_dir, Path(made) / "configs", texts(candidates))
            self._staged(folder)
            try:
                yield folder
            finally:
                self._staged(None)


def takes_folder(eval_fn: Callable[..., Any]) -> bool:
    """Whether a function has a parameter for the folder: one that must be given, or that is None when it is not.

    One that takes anything at all, as a mock does, or whose parameter carries a value of its own, is the seed's, which is called with nothing.

    Example:
        >>> takes_folder(lambda folder: 1.0), takes_folder(lambda folder=None: 1.0), takes_folder(lambda scores=(1.0,): scores[0])
        (True, True, False)
    """
    try:
        parameters = inspect.signature(eval_fn).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not tell
        return False
    positional = (each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD))
    return any(each.default is each.empty or each.default is None for each in positional)


def read(found: Any) -> Scores:
    """Read what an evaluator returned; a number of any kind is one."""
    if not isinstance(found, str | bytes | Mapping) and not hasattr(found, "__iter__") and hasattr(found, "__float__"):
        return Scores(single=float(found))
    return scores_of(found)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cycle's evaluations.

    Attributes:
        accepted: whether anything passed.
        post: mean score of what is live then; where nothing passed, of the best that did not; None where none gave a score.
        reasons: why what did not pass did not.
    """

    accepted: bool
    post: float | None
    reasons: list[str]


def judge_each(trial: Trial, baseline: Scores, groups: Sequence[Sequence[Candidate]], *, promote: Callable[[Sequence[Candidate], str], None]) -> Outcome:
    """Judge groups of candidates one after the other, each on top of those that passed before it, and promote or discard each at once."""
    passed: list[Candidate] = []
    now, accepted, refused, reasons = baseline, False, [], []
    for group in groups:
        try:
            judged = trial.judged(now, [*passed, *group])
        except (EvaluationError, GateError) as exc:
            judged = Judged(now, False, str(exc))
        else:
            refused += [] if judged.passes else [judged.scores.mean]
        if judged.passes:
            promote(group, judged.reason)
            passed, now, accepted = [*passed, *group], judged.scores, True
        else:
            reasons.append(judged.reason)
            for each in group:
                each.discard(judged.reason)
    return Outcome(accepted, now.mean if accepted else max(refused, default=None), reasons)
