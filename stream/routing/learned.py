"""The learned policy: greedy over the arms that have enough evidence."""

from __future__ import annotations

from stream.routing.evidence import ClassEvidence
from stream.routing.heuristic import Heuristic, charged, shared
from stream.routing.registry import Decided
from stream.routing.settings import RoutingSettings


class Learned:
    """The arm with the best mean among those with enough scored traces takes all draws; with none such, the heuristic does."""

    explores = True

    def probabilities(self, evidence: ClassEvidence, settings: RoutingSettings) -> Decided:
        """Divide the draws."""
        enough = [arm for arm in evidence.arms if arm.rated_count >= settings.min_evidence and arm.believed.mean is not None]
        if not enough:
            return Heuristic().probabilities(evidence, settings)
        best = min(enough, key=lambda arm: (arm.toll - (arm.believed.mean or 0.0), arm.id))
        return Decided(probabilities=shared(evidence, best.id, 1.0), reason=f"{best.id} has the best mean{charged(evidence)}, {(best.believed.mean or 0.0) - best.toll:.3f}")
