"""Evaluators: functions and commands, what they may say, and what they are told when they say something else."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream.errors import EvaluationError
from stream.learning.evaluators import CommandEvaluator, FunctionEvaluator, Question, exact_match, load, score_answers, scores_of
from stream.learning.evaluators.reading import scores_in
from stream.learning.splits import split_of


def command(program: str, *, time_limit_s: float = 30.0) -> CommandEvaluator:
    """A Python one-liner as a command; its first argument is the folder."""
    return CommandEvaluator(f"{sys.executable} -c '{program}' {{folder}}", time_limit_s=time_limit_s)


def test_function_is_handed_the_folder_if_it_takes_one(tmp_path: Path) -> None:
    """A seed-style function without arguments scores what is live, which the caller must know."""
    seen: list[Any] = []
    old, new = FunctionEvaluator(lambda: 0.7), FunctionEvaluator(lambda folder, limit: seen.append((folder, limit)) or {"a": 1})

    assert (old.sees_folder, new.sees_folder) == (False, True)
    assert old.evaluate(tmp_path, limit=5).single == 0.7
    assert new.evaluate(tmp_path, limit=5).by_id == {"a": 1.0}
    assert seen == [(tmp_path, 5)]


def test_function_of_the_limit_alone_sees_no_folder(tmp_path: Path) -> None:
    """`limit` is not the folder, however it may be handed over."""
    evaluator = FunctionEvaluator(lambda limit: [0.5] * limit)

    assert not evaluator.sees_folder
    assert evaluator.evaluate(tmp_path, limit=2).by_id == {"1": 0.5, "2": 0.5}


def test_what_a_function_raises_is_raised(tmp_path: Path) -> None:
    """A bug in an evaluator must be seen as what it is."""
    with pytest.raises(ZeroDivisionError):
        FunctionEvaluator(lambda folder: 1 / 0).evaluate(tmp_path, limit=1)


@pytest.mark.parametrize("found", [None, "0.7", [], {}, {"a": 1.5}, {"a": "x"}, [("a", 1), ("a", 0)], float("nan"), [float("nan")], object()])
def test_what_is_no_score_is_refused(found: object) -> None:
    """Scores that cannot be weighed must not become a verdict."""
    with pytest.raises(EvaluationError):
        scores_of(found)


def test_command_prints_scores_by_id(tmp_path: Path) -> None:
    """It is given the folder, and what it says beside goes to stderr."""
    (tmp_path / "printed").write_text('{"id": "a", "score": 1}\n\n{"id": 7, "score": 0.25}\n')

    found = command('import sys; print("loading", file=sys.stderr); print(open(sys.argv[1] + "/printed").read()); open(sys.argv[1] + "/seen", "w")').evaluate(tmp_path, limit=3)

    assert found.by_id == {"a": 1.0, "7": 0.25}
    assert (tmp_path / "seen").exists()


def test_command_without_a_place_for_the_folder_gets_it_last(tmp_path: Path) -> None:
    """The shortest setting, a script's path, must do."""
    script = tmp_path / "score"
    script.write_text('#!/bin/sh\ntest -d "$1" && echo 0.75\n')
    script.chmod(0o755)

    assert CommandEvaluator(str(script)).evaluate(tmp_path, limit=1).single == 0.75


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.5\nloading model", "line 2 is 'loading model'"),
        ('{"id": "a"}', "line 1 is"),
        ('{"id": "a", "score": true}', "line 1 is"),
        ('{"id": "a", "score": 1}\n0.5', "one form on all lines"),
        ('{"id": "a", "score": 1}\n{"id": "a", "score": 0}', "scored twice"),
        ("0.5\n1.5", "scores of samples lie in"),
        ("[" * 100_000, "line 1 is"),
        ("NaN", "finite number"),
    ],
)
def test_bad_output_is_named_with_its_line(text: str, said: str) -> None:
    """Whoever wrote the command must see from the error alone what it printed and what it should."""
    with pytest.raises(EvaluationError, match=said) as caught:
        scores_in(text)
    assert len(str(caught.value)) < 600


def test_command_that_fails_says_its_status_and_what_it_said(tmp_path: Path) -> None:
    """Scores printed before a crash are no evaluation."""
    with pytest.raises(EvaluationError, match=r"status 3.*no such model"):
        command('import sys; print(1.0); print("no such model", file=sys.stderr); sys.exit(3)').evaluate(tmp_path, limit=1)
    with pytest.raises(EvaluationError, match="printed nothing"):
        command("pass").evaluate(tmp_path, limit=1)
    with pytest.raises(EvaluationError, match="cannot be started"):
        CommandEvaluator("/there/is/none").evaluate(tmp_path, limit=1)


def test_command_is_killed_at_its_limit_though_something_holds_its_output(tmp_path: Path) -> None:
    """A child of it that lives on with its output open must not keep the cycle waiting: it sleeps for 3 s, the limit is half a second."""
    began_s = time.monotonic()

    with pytest.raises(EvaluationError, match=r"killed after 0.5 s"):
        command('import subprocess; subprocess.run(["sleep", "3"])', time_limit_s=0.5).evaluate(tmp_path, limit=1)

    assert time.monotonic() - began_s < 2.5


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing", "must be"),
        ("no_such_module:f", "cannot be imported"),
        ("math:no_such", "cannot be imported"),
        ("math:pi", "must be a function"),
        ("command: 'x", "close its quotes"),
        ("command:", "empty"),
    ],
)
def test_spec_that_names_nothing_is_refused(spec: str, said: str) -> None:
    """A typing error in a setting is told before a cycle spends an hour."""
    with pytest.raises(EvaluationError, match=said):
        load(spec)


def test_spec_names_a_function_or_a_command() -> None:
    """Both kinds, as in EDDY_EVALUATOR."""
    assert isinstance(load("stream.learning.splits:split_of"), FunctionEvaluator)
    assert isinstance(load("command: ./score.sh {folder}"), CommandEvaluator)


def test_answers_to_held_out_questions_are_scored_by_id() -> None:
    """By hand: one right, one wrong, of the questions that no training may see."""
    asked = [Question(f"q{number}", f"How much is {number} and one?", str(number + 1)) for number in range(40)]
    held_out = [each for each in asked if split_of(each.query) == "test"]

    found = score_answers(lambda query: "17" if query == held_out[0].query else "none", [replace(held_out[0], reference="17"), held_out[1]], grade=exact_match)

    assert found.by_id == {held_out[0].id: 1.0, held_out[1].id: 0.0}
