"""The routing desk: all that update-routing decides; its caller brings the records and the time, and publishes what is due."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from stream.records import ANY_CLASS, Override, PartitionStatistics, PolicyParameters, RoutingUpdate
from stream.routing.book import Book
from stream.routing.contextual import ContextualModel
from stream.routing.decision import decide, has_moved, has_new_evidence
from stream.routing.evidence import ClassEvidence
from stream.routing.explanation import Explanation, explain
from stream.routing.overrides import Overrides
from stream.routing.registry import policy_named
from stream.routing.settings import RoutingSettings
from stream.routing.state import RoutingState
from stream.routing.treasury import Treasury

CLASSES_PER_CALL = 32
"""Classes decided at one call: some 30 ms of work at 71 arms each, so that an event loop stays responsive."""
MERGED_PER_CALL = 128
"""Statistics merged at one call: 50 ms of work where each has 180 buckets that are new."""
POOL_INTERVAL_S = 1.0
"""Least time between two looks at all classes together: they change with every record, and only unknown classes draw from them."""
LEAST_TURN_S = 1.0
"""Least time after an update until one only for new counts: what people watch need not be fresher."""
EVIDENCE_UPDATES_PER_S = 50.0
"""Updates that all classes together may publish because only their counts have changed."""
LOOK_INTERVAL_S = 0.1
"""Least time between two looks at what is due by time alone, in which every class is asked."""
STALE_SHARE = 0.8
"""Part of the greatest age at which an update is renewed, so that it is never older when classes wait for each other."""


class Pace(NamedTuple):
    """How long one class waits, in seconds."""

    interval_s: float
    """Between two looks at it."""
    turn_s: float
    """After an update, until new counts are worth another one."""
    stale_s: float
    """After an update, until it is renewed."""


@dataclass(slots=True)
class Place:
    """Where one class stands with the desk. Times are the caller's, in seconds."""

    last: RoutingUpdate | None = None
    """What stands on the topic, as far as known."""
    considered_s: float = -math.inf
    published_s: float | None = None
    """When this owner published it; None: it has to, whatever it says."""
    has_changed: bool = True
    """Whether something came in since it was considered."""
    pool_version: int = 0
    """Version of what the classes that it shares evidence with said together when it was considered."""
    has_new_counts: bool = False
    """Whether it was considered, and only its counts had changed."""

    def is_due(self, now_s: float, pace: Pace, pool_version: int) -> bool:
        """Whether the class is to be considered."""
        if self.pool_version != pool_version and now_s - self.considered_s >= pace.turn_s:
            return True
        if self.published_s is None or now_s - self.published_s >= pace.stale_s:
            return True
        if self.has_new_counts and now_s - self.published_s >= pace.turn_s:
            return True
        return self.has_changed and now_s - self.considered_s >= pace.interval_s

    def is_worth(self, update: RoutingUpdate, now_s: float, *, pace: Pace, move: float) -> bool:
        """Whether a decision is to be published: it moved, or it is time."""
        if self.published_s is None or now_s - self.published_s >= pace.stale_s or has_moved(self.last, update, move):
            return True
        return now_s - self.published_s >= pace.turn_s and has_new_evidence(self.last, update)


class RoutingDesk:
    """Turns statistics and overrides into routing updates.

    The steps of its owner:
        1. read `eddy.statistics`, `eddy.overrides` and `eddy.routing` from the start to the ends seen at assignment,
           giving each record to `learn` (or `forget_class`), `override` and `saw_update`;
        2. claim an epoch above `greatest_epoch`, and call `claim`;
        3. go on reading, and every few milliseconds publish what `due` returns and tombstone what `retired` returns;
        4. when `superseded_by` is not None, stop: a newer owner writes.

    Attributes:
        book: the evidence that it decides by.

    Raises:
        SettingsError: there is no policy of the name that the settings give.
    """

    def __init__(self, *, settings: RoutingSettings, fold: str, state: RoutingState) -> None:
        policy_named(settings.policy)
        self._settings, self._fold = settings, fold
        self._state = msgspec.structs.replace(state, fold=fold)
        self.book = Book(settings, fold)
        self._overrides = Overrides(settings.arm_fields, settings.pool_of)
        self._places: dict[str, Place] = {ANY_CLASS: Place()}
        self._stirred = {ANY_CLASS}
        """Classes that may be due for another reason than time; the rest are asked only every `LOOK_INTERVAL_S`."""
        self._looked_s = self._refreshed_s = -math.inf
        self._on_topic: set[str] = set()
        self._gone: set[str] = set()
        self._greatest_epoch = state.epoch
        self._model = ContextualModel()
        self._treasury = Treasury(settings, self.book, state.prices)

    # ---- the owner's epoch

    @property
    def state(self) -> RoutingState:
        """What must outlive this process: to be written to `routing_state` after publishing."""
        return self._state

    @property
    def greatest_epoch(self) -> int:
        """The greatest epoch seen in any update or in the state; a claim must lie above it."""
        return self._greatest_epoch

    @property
    def superseded_by(self) -> int | None:
        """The epoch of a newer owner whose update was seen, or None. While there is one, nothing is due."""
        return self._greatest_epoch if self._greatest_epoch > self._state.epoch else None

    def claim(self, epoch: int) -> None:
        """Begin to publish, with versions (epoch, 1), (epoch, 2), ...; every class is due anew."""
        self._state = msgspec.structs.replace(self._state, epoch=epoch, counter=0)
        self._greatest_epoch = max(self._greatest_epoch, epoch)
        for place in self._places.values():
            place.published_s = None
        self._stirred.update(self._places)

    # ---- what comes in

    def learn(self, statistics: PartitionStatistics) -> None:
        """Take a partition's running total; of one fold, partition and class the highest offset wins, another fold's is ignored."""
        if self.book.learn(statistics):
            self._treasury.take_note(statistics.query_class)
            self._touch(statistics.query_class)

    def forget_class(self, key: str) -> None:
        """Take a tombstone of `eddy.statistics`, by its key `fold/partition/query class`."""
        fold, _, rest = key.partition("/")
        partition, _, query_class = rest.partition("/")
        if partition.isdecimal() and self.book.forget(query_class, int(partition), fold):
            self._touch(query_class)

    def override(self, key: str, override: Override | None) -> None:
        """Take an operator's word, or its tombstone, by its key on `eddy.overrides`."""
        concerned = self._overrides.put(key, override)
        if concerned is not None:
            for name in [concerned, *self._places] if self._is_pool(concerned) else [concerned]:
                self._touch(name)
                self._places[name].considered_s = -math.inf  # an operator's word does not wait for the pace of evidence

    def saw_parameters(self, parameters: PolicyParameters) -> None:
        """Take a policy's parameters, which say how routers will refine what is decided here.

        Raises:
            msgspec.ValidationError, ValueError: they are malformed.
        """
        self._model = ContextualModel.of(parameters) or self._model

    def saw_update(self, update: RoutingUpdate | None, key: str) -> None:
        """Take what stands on `eddy.routing`; a foreign, older update (or tombstone) after ours makes ours due again."""
        if update is None:
            self._on_topic.discard(key)
            self._overwritten(key)
            return
        self._on_topic.add(key)
        self._greatest_epoch = max(self._greatest_epoch, update.version[0])
        place = self._places.get(key)
        if place and place.published_s is not None and update.version[0] < self._state.epoch:
            self._overwritten(key)
        elif place is None or place.published_s is None:
            place = self._place(key)
            place.last = max(place.last or update, update, key=lambda known: known.version)

    def _touch(self, query_class: str) -> None:
        for name in (query_class, self._settings.pool_of(query_class)):
            self._place(name).has_changed = True
            self._stirred.add(name)

    def _is_pool(self, name: str) -> bool:
        return self._settings.pool_of(name) == name

    def _place(self, name: str) -> Place:
        if (place := self._places.get(name)) is None:
            place = self._places[name] = Place()
            self._stirred.add(name)
        return place

    def _overwritten(self, key: str) -> None:
        if place := self._places.get(key):
            place.published_s = None
            self._stirred.add(key)

    # ---- what goes out

    def catch_up(self) -> bool:
        """Merge some of what was learned; returns whether all of it is merged, until which nothing is due.

        `due` does it by itself. A new owner learns tens of thousands of totals, which no event loop may be held for.
        """
        return self.book.catch_up(MERGED_PER_CALL)

    def due(self, now_s: float, *, limit: int = CLASSES_PER_CALL) -> list[RoutingUpdate]:
        """Decide anew where something changed, and return the updates to publish.

        The class `*` (`stream.records.ANY_CLASS`) is what a router draws from for a class without an update of its own.

        Args:
            now_s: a monotonic time, in seconds.
            limit: most classes decided at this call; those that wait longest come first.
        """
        if self.superseded_by is not None or not self.catch_up():
            return []
        self._charge_anew(now_s)
        ready = sorted(self._ready(now_s), key=lambda name: self._places[name].considered_s)
        return [update for name in ready[:limit] if (update := self._reconsider(name, now_s))]

    def _charge_anew(self, now_s: float) -> None:
        """Move the prices of what is under a ceiling; the classes that they have moved for are due."""
        pools = self._treasury.look(now_s)
        self._state = msgspec.structs.replace(self._state, prices=self._treasury.prices)
        for name in [name for name in self._places if pools and self._settings.pool_of(name) in pools]:
            self._places[name].has_changed = True
            self._stirred.add(name)

    def _ready(self, now_s: float) -> Iterator[str]:
        names: Collection[str] = self._stirred
        if now_s - self._looked_s >= LOOK_INTERVAL_S:
            self._looked_s, names = now_s, self._places.keys()
            if now_s - self._refreshed_s >= POOL_INTERVAL_S:
                self._refreshed_s = now_s
                self.book.refresh()
        pace, pooled = self._pace(""), self._pace(ANY_CLASS)
        for name in names:
            if self._places[name].is_due(now_s, pooled if self._is_pool(name) else pace, self.book.version_of_pool(name)):
                yield name

    def _pace(self, name: str) -> Pace:
        return Pace(
            interval_s=max(self._settings.interval_s, POOL_INTERVAL_S if name == ANY_CLASS else 0.0),
            turn_s=max(LEAST_TURN_S, len(self._places) / EVIDENCE_UPDATES_PER_S),
            stale_s=STALE_SHARE * self._settings.max_staleness_s,
        )

    def _reconsider(self, name: str, now_s: float) -> RoutingUpdate | None:
        """Decide for one class, and publish where that is worth it."""
        place, evidence = self._places[name], self.book.evidence(name)
        place.considered_s, place.has_changed, place.pool_version = now_s, False, self.book.version_of_pool(name)
        self._stirred.discard(name)
        if not self._is_alive(evidence):
            place.published_s = now_s
            self._gone.add(name)
            return None
        update = self._decide(evidence)
        if place.is_worth(update, now_s, pace=self._pace(name), move=self._settings.move):
            return self._publish(place, update, now_s)
        place.has_new_counts = has_new_evidence(place.last, update)
        return None

    def _publish(self, place: Place, update: RoutingUpdate, now_s: float) -> RoutingUpdate:
        self._state = msgspec.structs.replace(self._state, counter=self._state.counter + 1)
        versioned = msgspec.structs.replace(update, version=self._state.version)
        place.last, place.published_s, place.has_new_counts = versioned, now_s, False
        self._on_topic.add(versioned.query_class)
        return versioned

    def _decide(self, evidence: ClassEvidence) -> RoutingUpdate:
        frozen = self._frozen(evidence.query_class)
        update = decide(evidence, settings=self._settings, overrides=self._overrides, frozen=frozen, fold=self._fold, prices=self._treasury.of(evidence.query_class))
        self._treasury.expect(evidence, update, self._model)
        self._keep_frozen(evidence.query_class, update)
        return update

    def _frozen(self, name: str) -> dict[str, float] | None:
        """The probabilities that a class was frozen with: those remembered, else the last that were published."""
        if kept := self._state.frozen.get(name):
            return kept
        place = self._places.get(name)
        return {arm.id: arm.probability for arm in place.last.arms} if place and place.last else None

    def _keep_frozen(self, name: str, update: RoutingUpdate) -> None:
        """Remember a frozen class's probabilities; a pin or a withdrawal that holds meanwhile changes nothing in them."""
        frozen = {kept: shares for kept, shares in self._state.frozen.items() if self._overrides.is_frozen(kept)}
        if self._overrides.is_frozen(name) and name not in frozen:
            frozen[name] = self._frozen(name) or {arm.id: arm.probability for arm in update.arms}
        if frozen != self._state.frozen:
            self._state = msgspec.structs.replace(self._state, frozen=frozen)

    # ---- what leaves

    def _is_alive(self, evidence: ClassEvidence) -> bool:
        """Whether a class has an arm, and traces, decisions or an operator's word of its own; `*` needs only an arm."""
        name = evidence.query_class
        if not evidence.arms and not self._overrides.pin(name):
            return False
        return name == ANY_CLASS or name in self._overrides.named_classes() or evidence.count + evidence.unresolved > 0

    def retired(self) -> list[str]:
        """Take the classes that `due` found to have nothing any more: their updates are to be tombstoned on `eddy.routing`."""
        gone, self._gone = self._gone, set()
        for name in gone - {ANY_CLASS}:
            self._places.pop(name, None)
            self._treasury.forget(name)
            self._stirred.discard(name)
            self.book.drop(name)
        found = sorted(gone & self._on_topic)
        self._on_topic -= gone
        return found

    # ---- why

    def explain(self, query_class: str) -> Explanation:
        """Say why a class is routed as it is, from the evidence as it stands now."""
        evidence, frozen = self.book.evidence(query_class), self._frozen(query_class)
        version, prices = self._state.version, self._treasury.of(query_class)
        update = decide(evidence, settings=self._settings, overrides=self._overrides, frozen=frozen, fold=self._fold, version=version, prices=prices)
        return explain(update, evidence, settings=self._settings, overrides=self._overrides)
