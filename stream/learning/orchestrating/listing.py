"""A store that is read once a cycle, however often its extractors ask."""

from __future__ import annotations

from typing import Any

from stream.learning.trace import Trace


class Listing:
    """Remembers what a store listed, until it is told that a new cycle begins.

    Args:
        store: with `list_traces(limit=…, [agent=…])`.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._listed: dict[tuple[Any, ...], list[Trace]] = {}

    def begin(self) -> None:
        """Forget what was listed."""
        self._listed.clear()

    def list_traces(self, **asked: Any) -> list[Trace]:
        """List what the store lists; the same question is asked once a cycle."""
        key = tuple(sorted(asked.items()))
        if key not in self._listed:
            self._listed[key] = self._within(**asked) or list(self._store.list_traces(**asked))
        return self._listed[key]

    def _within(self, *, limit: int, agent: str | None = None, **bounds: Any) -> list[Trace]:
        """Take an agent's traces out of those of all, where all are listed."""
        everybody = self._listed.get((("limit", limit),), [])
        return [trace for trace in everybody if trace.agent == agent] if agent is not None and not bounds and len(everybody) < limit else []
