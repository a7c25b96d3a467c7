"""The house style's measures, which no linter has: how long functions and modules are, and that their examples are true."""

from __future__ import annotations

import ast
import doctest
import importlib
import statistics
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("stream", "agents", "tables") for path in (CHECKOUT / folder).rglob("*.py"))


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring left out."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


FUNCTIONS = {
    f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}": body_lines(node)
    for path in SOURCES
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
}


def test_functions_are_short() -> None:
    """A function that fits in one look is understood in one: half have at most five lines, nine in ten under twenty, none over fifty."""
    lengths = sorted(FUNCTIONS.values())

    assert statistics.median(lengths) <= 5
    assert lengths[len(lengths) * 9 // 10] < 20
    assert {name: length for name, length in FUNCTIONS.items() if length > 50} == {}


def test_modules_are_short() -> None:
    """A module is about one thing; one that grows past some 300 lines (here: 330) is about two."""
    lengths = {str(path.relative_to(CHECKOUT)): len(path.read_text().splitlines()) for path in SOURCES}

    assert {name: length for name, length in lengths.items() if length > 330} == {}


def test_modules_say_what_they_are() -> None:
    """The first sentence of a file is what a newcomer reads of it."""
    assert [str(path.relative_to(CHECKOUT)) for path in SOURCES if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if ">>> " in path.read_text()], ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_examples_in_docstrings_are_true(path: Path) -> None:
    """An example that no longer holds misleads more than none."""
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    module = importlib.import_module(".".join(parts if parts[0] == "stream" else ("stream", *parts)))

    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)

    assert tried > 0
    assert failed == 0
