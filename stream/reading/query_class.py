"""Query classes: the seed's classifier, or a user's by entry point."""

from __future__ import annotations

from collections.abc import Callable


def classify_query(query: str) -> str:
    """Return the class of a query: `code`, `math`, `short`, `long` or `general`, as the seed's classifier does."""
    raise NotImplementedError


def classifier(name: str) -> Callable[[str], str]:
    """Return a classifier by name: `seed`, or an entry point of the group `eddy.classifiers`."""
    raise NotImplementedError
