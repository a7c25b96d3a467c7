"""Query classes: the seed's classifier, or a user's by entry point."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import entry_points

from stream.errors import MalformedRecordError, SettingsError

SHORT_BELOW = 50
LONG_ABOVE = 500
ENTRY_POINTS = "eddy.classifiers"

CODE_WORDS = ("def", "class", "import", "function")
MATH_WORDS = ("solve", "integral", "equation", "calculate", "compute")
_TICKS = re.compile(r"```|`[^`]+`")


def classify_query(query: str) -> str:
    """Return the class of a query: `code`, `math`, `short`, `long` or `general`, as the seed's classifier does.

    It tries patterns at every character. A plain search for each word, and a look at what stands around it, take a tenth of that.

    Args:
        query: text of any length, counted in code points.

    Example:
        >>> [classify_query(query) for query in ("import os", "compute 2+2", "hi", "x" * 50, "x" * 501)]
        ['code', 'math', 'short', 'general', 'long']
    """
    text = folded(query)
    if is_code(text):
        return "code"
    if is_math(text):
        return "math"
    return "short" if len(query) < SHORT_BELOW else "long" if len(query) > LONG_ABOVE else "general"


def folded(query: str) -> str:
    """Fold case as the seed's patterns do, character by character: three letters beyond ASCII count as an `i` or an `s`.

    Example:
        >>> folded("CLAſS İNTEGRAL ıntegral")
        'class integral integral'
    """
    if query.isascii():
        return query.lower()
    return query.replace("\u0130", "i").lower().replace("\u017f", "s").replace("\u0131", "i")


def is_code(text: str) -> bool:
    """Whether folded text has something between backticks, or a word of code with a space behind it."""
    if "`" in text and _TICKS.search(text):
        return True
    for word in CODE_WORDS:  # noqa: SIM110 - a generator for `any` costs as much as the search
        if word in text and _stands(word, text, before=str.isspace):
            return True
    return False


def is_math(text: str) -> bool:
    """Whether folded text has a word of mathematics."""
    for word in MATH_WORDS:  # noqa: SIM110 - as above
        if word in text and _stands(word, text, before=_is_outside):
            return True
    return False


def _stands(word: str, text: str, *, before: Callable[[str], bool]) -> bool:
    """Whether a word begins as one somewhere, and stands before such a character (an empty one at the end of the text)."""
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if before(text[end : end + 1]) and _is_outside(text[at - 1 : at]):
            return True
        at = text.find(word, end)
    return False


def _is_outside(character: str) -> bool:
    """Whether a character, or none, is no part of a word."""
    return not character.isalnum() and character != "_"


def classifier(name: str) -> Callable[[str], str]:
    """Return a classifier by name: `seed`, or an entry point of the group `eddy.classifiers`.

    Raises:
        SettingsError: there is none of that name.
    """
    if name == "seed":
        return classify_query
    found = entry_points(group=ENTRY_POINTS, name=name)
    if not found:
        known = ["seed", *sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))]
        raise SettingsError(f"classifier {name!r} is not installed, but EDDY_CLASSIFIER must be one of {known}; install the package that has it")
    loaded: Callable[[str], str] = next(iter(found)).load()
    return loaded


def ask(classify: Callable[[str], str], query: str) -> str:
    """Ask a classifier, which may be a user's: it may raise anything and answer anything.

    Raises:
        MalformedRecordError: `internal_error`, it raised, or answered what is no class.
    """
    try:
        query_class = classify(query)
    except Exception as exc:
        raise MalformedRecordError("internal_error", f"the classifier raised {_describe(exc)}") from exc
    if type(query_class) is not str or not query_class:
        raise MalformedRecordError("internal_error", f"the classifier returned a {type(query_class).__name__}, but a class is a non-empty str")
    query_class.encode()  # a lone surrogate is no text
    return query_class


def _describe(exc: Exception) -> str:
    """Describe an exception whose own text may raise."""
    try:
        return f"{type(exc).__name__}: {exc}"
    except Exception:
        return type(exc).__name__
