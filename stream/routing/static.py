"""The static policy: the default arm, whatever the evidence."""

from __future__ import annotations

from stream.routing.evidence import ClassEvidence
from stream.routing.heuristic import default_arm, shared
from stream.routing.registry import Decided
from stream.routing.settings import RoutingSettings


class Static:
    """The default arm takes all draws; where it may not be drawn, all others alike. It never explores."""

    explores = False

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        default = default_arm(evidence, settings)
        reason = f"the default arm {default} is set to serve all" if default else "no default arm may be drawn: all arms alike"
        return Decided(probabilities=shared(evidence, default, 1.0), reason=reason)
