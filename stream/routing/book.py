"""The book of evidence: the newest statistics of every partition and class, and the evidence they make together."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from stream.fold.pairs import PairRow
from stream.reading.reward import QUALITY
from stream.records import ANY_CLASS, PartitionStatistics
from stream.routing.calibration import AS_GIVEN, REWARD_ALONE, Scales, calibrate
from stream.routing.ceilings import Account
from stream.routing.evidence import ClassEvidence, class_evidence
from stream.routing.merging import Change, Merged, changes
from stream.routing.pools import Pool
from stream.routing.settings import RoutingSettings
from stream.routing.weighing import MS, NANO_USD, Ages


class Page:
    """One class in the book.

    Attributes:
        newest: of each partition, its newest statistics.
        taken: of each partition, the statistics that `merged` holds.
        merged: what the partitions make together.
    """

    def __init__(self) -> None:
        self.newest: dict[int, PartitionStatistics] = {}
        self.taken: dict[int, PartitionStatistics] = {}
        self.merged = Merged()

    def take(self, partition: int, fields: tuple[str, ...]) -> None:
        """Bring what is merged up to a partition's newest statistics."""
        before, after = self.taken.pop(partition, None), self.newest.get(partition)
        self.merged.change(changes(before, after, fields))
        if after is not None:
            self.taken[partition] = after


class Book:
    """Evidence by class. Log time is the greatest that any partition has reported."""

    def __init__(self, settings: RoutingSettings, fold: str) -> None:
        self._settings, self._fold = settings, fold
        self._pages: dict[str, Page] = {}
        self._pools: dict[str, Pool] = {}
        """What the classes make together that share evidence: all of them, or each tenant's."""
        self._stale: dict[tuple[str, int], None] = {}
        """An ordered set: classes and partitions whose newest statistics are not merged yet. Of many that follow each other only the last is."""
        self._pairs: dict[int, tuple[int, tuple[PairRow, ...]]] = {}
        """Of each partition the newest offset that it has reported at, and its pairs then."""
        self._has_new_pairs = False
        self.log_time_ms = 0
        self._ages: Ages | None = None
        """As evidence was made last."""

    def _ages_now(self) -> Ages:
        """Weights and scales at this moment; the same object as long as they are the same, so that what is weighed stays so."""
        settings = self._settings
        ages = Ages(
            log_time_ms=self.log_time_ms,
            half_life_s=settings.half_life_s,
            keep_s=settings.keep_s,
            rating_delay_s=settings.rating_delay_s,
            merged_s=settings.merged_s,
        )
        known = self._ages
        if known is None or known.moment_s != ages.moment_s or self._has_new_pairs:
            ages.scales, self._has_new_pairs = self._scales(ages), False
            if known is None or (known.moment_s, known.scales) != (ages.moment_s, ages.scales):
                known = self._ages = ages
        return known

    def _scales(self, ages: Ages) -> Scales:
        if self._settings.reward != QUALITY:
            return REWARD_ALONE
        if self._settings.tenants_apart:
            return AS_GIVEN  # pairs are of all tenants: they would tell of one to another
        return calibrate([row for _, rows in self._pairs.values() for row in rows], ages.weight)

    def use(self, settings: RoutingSettings) -> None:
        """Read what is there by other settings."""
        self._settings = settings

    @property
    def classes(self) -> set[str]:
        """The classes that some partition has reported."""
        return set(self._pages)

    def learn(self, statistics: PartitionStatistics) -> bool:
        """Take a partition's running total; False where it is another fold's, or not newer than what is known."""
        if statistics.fold != self._fold:
            return False
        self.log_time_ms = max(self.log_time_ms, statistics.log_time_ms)
        self._take_pairs(statistics)
        page = self._pages.setdefault(statistics.query_class, Page())
        known = page.newest.get(statistics.partition)
        if known and known.offset >= statistics.offset:
            return False
        page.newest[statistics.partition] = statistics
        self._stale[statistics.query_class, statistics.partition] = None
        return True

    def _take_pairs(self, statistics: PartitionStatistics) -> None:
        """Take the pairs of a partition: every class's total carries all of them, and the newest total counts."""
        offset, pairs = self._pairs.get(statistics.partition, (-1, ()))
        if statistics.offset > offset:
            self._pairs[statistics.partition] = statistics.offset, statistics.pairs
            self._has_new_pairs = self._has_new_pairs or statistics.pairs != pairs

    def forget(self, query_class: str, partition: int, fold: str) -> bool:
        """Drop what a partition said of a class; False where nothing is known of it."""
        page = self._pages.get(query_class)
        if fold != self._fold or page is None or partition not in page.newest:
            return False
        del page.newest[partition]
        self._stale[query_class, partition] = None
        return True

    def drop(self, query_class: str) -> None:
        """Drop a class that has nothing any more."""
        page = self._pages.get(query_class, Page())
        for partition in list(page.newest):
            self.forget(query_class, partition, self._fold)
        self.catch_up()
        self._pages.pop(query_class, None)
        pool = self._settings.pool_of(query_class)
        if all(self._settings.pool_of(name) != pool for name in self._pages):
            self._pools.pop(pool, None)
        elif pool in self._pools:
            self._pools[pool].drop(query_class)

    def catch_up(self, most: int | None = None) -> bool:
        """Merge what is not merged yet, or so many statistics of it; returns whether all is."""
        concerned: set[str] = set()
        for query_class, partition in list(islice(self._stale, most)):
            del self._stale[query_class, partition]
            self._pages[query_class].take(partition, self._settings.arm_fields)
            concerned.add(query_class)
        for query_class in concerned:
            self._pooled(query_class).take(query_class, self._pages[query_class].merged)
        return not self._stale

    def _pooled(self, query_class: str) -> Pool:
        """What a class adds to; the overflow of several tenants adds to nothing, since it is nobody's."""
        pool = self._settings.pool_of(query_class)
        is_nobodys = self._settings.tenants_apart and pool == ANY_CLASS
        return Pool() if is_nobodys else self._pools.setdefault(pool, Pool())

    def add(self, query_class: str, changed: Iterable[Change], log_time_ms: int) -> None:
        """Take what has changed in a class, for whoever keeps no totals of partitions."""
        self.log_time_ms = max(self.log_time_ms, log_time_ms)
        merged = self._pages.setdefault(query_class, Page()).merged
        merged.change(changed)
        self._pooled(query_class).take(query_class, merged)

    def evidence(self, query_class: str) -> ClassEvidence:
        """Make a class's evidence as of now, with what the others it shares evidence with say as its prior; `*` is all of those together.

        With tenants apart, `*` is for a tenant of whom nothing is known: it has the arms that are declared, and no evidence.
        """
        self.catch_up()
        ages, pool = self._ages_now(), self._settings.pool_of(query_class)
        everywhere = self._pools.get(pool, Pool())
        pooled = everywhere.merged.weighed(ages)
        if query_class == pool:
            return class_evidence(query_class, pooled, self._settings, log_time_ms=self.log_time_ms, scales=ages.scales)
        page = self._pages.get(query_class)
        weighed = page.merged.weighed(ages) if page else {}
        priors = everywhere.priors(weighed, pooled, ages, self._settings)
        return class_evidence(query_class, weighed, self._settings, priors=priors, elsewhere=pooled, log_time_ms=self.log_time_ms, scales=ages.scales)

    def refresh(self) -> None:
        """Work out anew what the classes of each pool say together, where there are too many of them to do it for every evidence."""
        self.catch_up()
        for pool in self._pools.values():
            pool.refresh(self._ages_now(), self._settings)

    def version_of_pool(self, query_class: str) -> int:
        """Version of what the classes that a class shares evidence with say together; its evidence is as of another one where this has moved on."""
        pool = self._pools.get(self._settings.pool_of(query_class))
        return pool.version if pool else 0

    def newest(self) -> list[PartitionStatistics]:
        """The newest total of every partition and class."""
        return [total for page in self._pages.values() for total in page.newest.values()]

    def accounts(self, pool: str) -> tuple[Account, Account]:
        """What was spent above the ceilings of cost and of latency, in the classes of a pool together."""
        settings, spent = self._settings, self._pools[pool].merged.spent if pool in self._pools else {}
        cost = Account.of(spent, 0, settings.max_cost_usd / NANO_USD) if settings.max_cost_usd else Account()
        latency = Account.of(spent, 2, settings.max_latency_s / MS) if settings.max_latency_s else Account()
        return cost, latency
