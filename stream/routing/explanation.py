"""Explanations: why a class is routed as it is, in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass

from stream.records import RoutingUpdate
from stream.routing.evidence import ClassEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a class is routed as it is.

    Attributes:
        update: the decision, as it is or would be published.
        evidence: what it stands on.
        overrides: which operator's words hold, one sentence each.
        would_change: what would change it, one sentence each.
        text: all of it, in plain sentences.
    """

    update: RoutingUpdate
    evidence: ClassEvidence
    overrides: tuple[str, ...] = ()
    would_change: tuple[str, ...] = ()
    text: str = ""


def explain_update(update: RoutingUpdate) -> str:
    """Say why a class is routed as it is, from the published update alone."""
    return update.reason
