"""Why routers draw for a class as they do: the desk's own explanation, from what stands on the topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stream.cli.common import plain
from stream.errors import EddyError

if TYPE_CHECKING:
    from stream.overview import Overview
    from stream.settings import Settings


def explain_class(settings: Settings, overview: Overview, query_class: str) -> dict[str, Any]:
    """Decide the class again from the evidence that stands, and say why.

    Raises:
        EddyError: nothing is known of the class.
    """
    from stream.routing.desk import RoutingDesk
    from stream.routing.settings import RoutingSettings
    from stream.routing.state import RoutingState

    _require_known(overview, query_class)
    desk = RoutingDesk(settings=RoutingSettings.of(settings), fold=overview.fold, state=RoutingState(fold=overview.fold))
    for record in overview.statistics:
        desk.learn(record)
    for key, override in overview.overrides.items():
        desk.override(key, override)
    published = overview.updates.get(query_class)
    desk.saw_update(published, query_class)  # a frozen class keeps what was published
    explanation = desk.explain(query_class)
    return {
        "query_class": query_class,
        "text": explanation.text,
        "overrides": list(explanation.overrides),
        "would_change": list(explanation.would_change),
        "decision": msgspec.to_builtins(explanation.update),
        "published": msgspec.to_builtins(published) if published is not None else None,
    }


def lines_of(explanation: dict[str, Any]) -> list[str]:
    """Lay an explanation out for people."""
    published = explanation["published"]
    version = "has not been published yet" if published is None else "was published as version {}.{}".format(*published["version"])
    lines = [f"class {plain(explanation['query_class'])}, whose decision {version}"]
    return lines + [plain(line, most=1_000) for line in explanation["text"].splitlines()]


def _require_known(overview: Overview, query_class: str) -> None:
    known = {record.query_class for record in overview.statistics} | overview.updates.keys()
    if query_class not in known:
        some = ", ".join(plain(name, most=40) for name in sorted(known)[:10]) or "none"
        raise EddyError(f"nothing is known of class {query_class!r}, but only a class with a trace can be explained; known are {some}")
