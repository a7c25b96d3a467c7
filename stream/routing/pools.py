"""A pool: the classes that share evidence, what they make together, and what they say of each other's arms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stream.routing.drift import LEAST_WEIGHT
from stream.routing.evidence import NO_SCORES, Tally, Weighed
from stream.routing.merging import Merged
from stream.routing.pooling import Pooled, pool
from stream.routing.settings import RoutingSettings
from stream.routing.weighing import Ages

EXACT_CLASSES = 32
"""With more of them, what all say together is worked out anew only when it is told to: it takes some 30 us a class."""


class Pool:
    """Classes that share evidence: all, or those of one tenant.

    Attributes:
        merged: what they make together.
        version: of what they say together: another number once that is worked out anew.
    """

    def __init__(self) -> None:
        self.merged = Merged()
        self._classes: dict[str, Merged] = {}
        self.version = 0
        self._has_changed = False
        self._pooled: tuple[Ages, Pooled] | None = None

    def take(self, query_class: str, merged: Merged) -> None:
        """Take what has changed in a class."""
        self._classes[query_class] = merged
        self.merged.change(merged.news())
        self._has_changed = True

    def drop(self, query_class: str) -> None:
        """Drop a class that has nothing any more."""
        self._classes.pop(query_class, None)
        self._has_changed = True

    def refresh(self, ages: Ages, settings: RoutingSettings) -> None:
        """Work out what all classes say together, if that may have changed."""
        if self._pooled is None or self._pooled[0] is not ages or self._has_changed:
            classes = [_scores(merged.weighed(ages), settings) for _, merged in sorted(self._classes.items())]
            self._pooled, self._has_changed = (ages, pool(classes, settings.pooled_cap)), False
            self.version += 1

    def priors(self, own: Mapping[str, Weighed], arms: Iterable[str], ages: Ages, settings: RoutingSettings) -> dict[str, Tally]:
        """What the other classes say of arms, for a class with these own sums.

        Of an arm whose mean has changed only those classes say anything in which it has changed too.
        """
        together, scores = self._together(ages, settings), _scores(own, settings)
        part, names = together.part_of(scores), {arm_id: _name(arm_id, own.get(arm_id), together) for arm_id in arms}
        return {arm_id: together.prior(name, scores.get(name, NO_SCORES), part) for arm_id, name in names.items()}

    def _together(self, ages: Ages, settings: RoutingSettings) -> Pooled:
        if self._pooled is None or len(self._classes) <= EXACT_CLASSES:
            self.refresh(ages, settings)
        return self._pooled[1] if self._pooled else Pooled()


def _scores(weighed: Mapping[str, Weighed], settings: RoutingSettings) -> dict[str, Tally]:
    """The scores of a class's arms, those that have changed under another name."""
    return {_changed(arm_id) if sums.changed_s is not None else arm_id: sums.drawn.plus(sums.confounded.capped(settings.confounded_cap)) for arm_id, sums in weighed.items()}


def _changed(arm_id: str) -> str:
    return f"{arm_id}\0changed"


def _name(arm_id: str, own: Weighed | None, together: Pooled) -> str:
    """As what an arm is known to other classes: as it was, or as it is since it changed; of which there is more, where the class is too young to tell."""
    names = (arm_id, _changed(arm_id))
    if own is not None and (own.changed_s is not None or own.drawn.weight + own.confounded.weight >= 2 * LEAST_WEIGHT):
        return names[own.changed_s is not None]
    return max(names, key=lambda name: together.arms.get(name, (0.0, 0.0))[0])
