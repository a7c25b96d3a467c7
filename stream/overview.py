"""What the loop has learned, put together for people: running totals and routing updates as one value ready for JSON.

It reads no topic; whoever follows `eddy.statistics`, `eddy.routing` and `eddy.overrides` feeds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stream.fold.totals import Sum
from stream.records import ANY_CLASS, Arm, Override, PartitionStatistics, RoutingUpdate
from stream.topics import OVERRIDES, ROUTING, STATISTICS

TOPICS = (STATISTICS.name, ROUTING.name, OVERRIDES.name)
"""What an overview is made of."""
FIRST_SUM = 3
"""Place of the first sum in a bucket's row, behind width, start and drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What is kept of one running total: a total with all its buckets takes a hundred times the room.

    Attributes:
        fold: that it is of.
        query_class: that it is of.
        offset: up to which it counts.
        arms: traces by the id of the routed arm.
        count: traces of all arms.
    """

    fold: str
    query_class: str
    offset: int
    arms: dict[str, int]
    count: int


class Overview:
    """The newest total of every (fold, partition, class), the newest update of every class, the overrides that stand.

    Args:
        arm_fields: the fields of `Arm` that are routed over; counts of arms that differ only in others are added up.
        keep_statistics: whether `statistics` will be asked for.
        rollout: what the settings say of it.
    """

    def __init__(self, arm_fields: Sequence[str], *, keep_statistics: bool = False, rollout: float = 1.0) -> None:
        self._rollout = rollout
        self._arm_fields = tuple(arm_fields)
        self._counted: dict[bytes, Counted] = {}
        self._kept: dict[bytes, PartitionStatistics] | None = {} if keep_statistics else None
        self._updates: dict[str, RoutingUpdate] = {}
        self._overrides: dict[str, Override] = {}

    def take(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Take one record of one of `TOPICS`; what cannot be read, or is older than what stands, changes nothing."""
        takers = {STATISTICS.name: self._take_statistics, ROUTING.name: self._take_update, OVERRIDES.name: self._take_override}
        try:
            takers[topic](key or b"", value)
        except msgspec.DecodeError:
            return

    def _take_statistics(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._counted.pop(key, None)
            (self._kept or {}).pop(key, None)
            return
        record = msgspec.json.decode(value, type=PartitionStatistics)
        standing = self._counted.get(key)
        if standing is None or record.offset >= standing.offset:
            self._counted[key] = self._count(record)
            if self._kept is not None:
                self._kept[key] = record

    def _count(self, record: PartitionStatistics) -> Counted:
        arms: Counter[str] = Counter()
        for entry in record.arms:
            arms[self._routed(entry.arm).id] += count(entry.buckets)
        return Counted(fold=record.fold, query_class=record.query_class, offset=record.offset, arms=dict(arms), count=arms.total())

    def _take_update(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._updates.pop(key.decode(errors="replace"), None)
            return
        update = msgspec.json.decode(value, type=RoutingUpdate)
        standing = self._updates.get(update.query_class)
        if standing is None or update.version > standing.version:
            self._updates[update.query_class] = update

    def _take_override(self, key: bytes, value: bytes | None) -> None:
        name = key.decode(errors="replace")
        if value is None:
            self._overrides.pop(name, None)
        else:
            self._overrides[name] = msgspec.json.decode(value, type=Override)

    @property
    def fold(self) -> str:
        """The fold whose totals count: the one named active, else the newest update's, else the one that has read most."""
        if (named := self._overrides.get("active_fold")) is not None and named.fold:
            return named.fold
        if self._updates:
            return max(self._updates.values(), key=lambda update: update.version).fold
        return max(self._counted.values(), key=lambda counted: counted.offset).fold if self._counted else ""

    @property
    def statistics(self) -> list[PartitionStatistics]:
        """The newest totals of the fold that counts, where they are kept."""
        fold = self.fold
        return [record for record in (self._kept or {}).values() if record.fold == fold]

    @property
    def updates(self) -> dict[str, RoutingUpdate]:
        """The newest routing update of every class."""
        return dict(self._updates)

    @property
    def overrides(self) -> dict[str, Override]:
        """The overrides that stand, by key."""
        return dict(self._overrides)

    @property
    def trace_count(self) -> int:
        """Traces counted, of all classes."""
        fold = self.fold
        return sum(counted.count for counted in self._counted.values() if counted.fold == fold)

    def report(self) -> dict[str, Any]:
        """Put it all together.

        Returns:
            `fold`, `traces` (traces counted, of all classes), `rollout` (share of requests that follow what is learned), `overrides` by key, `any_class` (what is drawn for a class
            without an update of its own), and `classes`: per class `count`, what its newest routing update says, and
            `arms` by id: `count` and the update's entry.
        """
        counts = self._counts()
        names = sorted(counts.keys() | (self._updates.keys() - {ANY_CLASS}), key=lambda name: (-sum(counts.get(name, {}).values()), name))
        classes = {name: _class_report(counts.get(name, {}), self._updates.get(name)) for name in names}
        overrides = {key: msgspec.to_builtins(override) for key, override in sorted(self._overrides.items())}
        any_class = _class_report({}, self._updates[ANY_CLASS]) if ANY_CLASS in self._updates else None
        traces = sum(entry["count"] for entry in classes.values())
        return {"fold": self.fold, "traces": traces, "rollout": self.rollout, "overrides": overrides, "any_class": any_class, "classes": classes}

    @property
    def rollout(self) -> float:
        """Share of requests, in [0, 1], that follow what is learned: what the settings say, or the operator's word where that is less."""
        word = self._overrides.get(Override(kind="rollout").key)
        return self._rollout if word is None or word.share is None else min(self._rollout, word.share)

    def _counts(self) -> dict[str, Counter[str]]:
        fold, counts = self.fold, dict[str, Counter[str]]()
        for counted in self._counted.values():
            if counted.fold == fold:
                counts.setdefault(counted.query_class, Counter()).update(counted.arms)
        return counts

    def _routed(self, arm: Arm) -> Arm:
        return Arm(**{field: getattr(arm, field) for field in self._arm_fields})


def count(buckets: Iterable[Sequence[int]]) -> int:
    """Add up the traces of an arm's buckets.

    Example:
        >>> count([(60, 0, 1, 3), (3600, 0, 0, 2)])
        5
    """
    return sum(row[FIRST_SUM + Sum.COUNT] for row in buckets)


def _class_report(counts: Mapping[str, int], update: RoutingUpdate | None) -> dict[str, Any]:
    arms: dict[str, dict[str, Any]] = {name: {"count": number} for name, number in counts.items()}
    for entry in update.arms if update else ():
        said = msgspec.to_builtins(entry)
        said["count"] = counts.get(entry.id, 0)
        arms[entry.id] = said
    ordered = dict(sorted(arms.items(), key=lambda item: (-item[1].get("probability", 0.0), -item[1]["count"], item[0])))
    report: dict[str, Any] = {"count": sum(counts.values()), "arms": ordered}
    return report | (_decision_report(update) if update else {})


def _decision_report(update: RoutingUpdate) -> dict[str, Any]:
    return {
        "policy": update.policy,
        "version": list(update.version),
        "best_arm": update.best_arm,
        "exploration_share": update.exploration_share,
        "interval_method": update.interval_method,
        "alpha": update.alpha,
        "reason": update.reason,
    }
