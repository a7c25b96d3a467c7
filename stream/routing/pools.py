"""A pool: the classes that share evidence, what they make together, and what they say of each other's arms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stream.routing.evidence import NO_SCORES, Tally, Weighed
from stream.routing.merging import Merged
from stream.routing.pooling import Pooled, pool
from stream.routing.settings import RoutingSettings
from stream.routing.weighing import Ages

POOLED_AGAIN = 8
"""Once so great a part of the classes has changed, what all of them say together is worked out anew: with less than 16, at every change."""


class Pool:
    """Classes that share evidence: all, or those of one tenant.

    Attributes:
        merged: what they make together.
    """

    def __init__(self) -> None:
        self.merged = Merged()
        self._classes: dict[str, Merged] = {}
        self._changes = 0
        self._pooled: tuple[Ages, Pooled] | None = None

    def take(self, query_class: str, merged: Merged) -> None:
        """Take what has changed in a class."""
        self._classes[query_class] = merged
        self.merged.change(merged.news())
        self._changes += 1

    def drop(self, query_class: str) -> None:
        """Drop a class that has nothing any more."""
        self._classes.pop(query_class, None)

    def priors(self, own: Mapping[str, Weighed], arms: Iterable[str], ages: Ages, settings: RoutingSettings) -> dict[str, Tally]:
        """What the other classes say of arms, for a class with these own sums."""
        together, scores = self._together(ages, settings), _scores(own, settings)
        part = together.part_of(scores)
        return {arm_id: together.prior(arm_id, scores.get(arm_id, NO_SCORES), part) for arm_id in arms}

    def _together(self, ages: Ages, settings: RoutingSettings) -> Pooled:
        """What all classes say together: as of these ages, and not behind by more than a part of the classes."""
        if self._pooled is None or self._pooled[0] is not ages or self._changes > len(self._classes) // POOLED_AGAIN:
            classes = [_scores(merged.weighed(ages), settings) for _, merged in sorted(self._classes.items())]
            self._pooled, self._changes = (ages, pool(classes, settings.pooled_cap)), 0
        return self._pooled[1]


def _scores(weighed: Mapping[str, Weighed], settings: RoutingSettings) -> dict[str, Tally]:
    return {arm_id: sums.drawn.plus(sums.confounded.capped(settings.confounded_cap)) for arm_id, sums in weighed.items()}
