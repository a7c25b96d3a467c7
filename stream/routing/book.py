"""The book of evidence: the newest statistics of every partition and class, and the evidence they make together."""

from __future__ import annotations

from collections.abc import Mapping

from stream.records import ANY_CLASS, PartitionStatistics
from stream.routing.evidence import NO_SCORES, Ages, ClassEvidence, Sums, Tally, class_evidence, merge, reduce_partition
from stream.routing.settings import RoutingSettings


class Page:
    """One class in the book: its partitions' statistics, and what was last made of them."""

    def __init__(self) -> None:
        self.newest: dict[int, PartitionStatistics] = {}
        self._reduced: dict[int, tuple[int, PartitionStatistics, dict[str, Sums]]] = {}
        self.pooled: Mapping[str, Sums] = {}
        """What this class has added to the pool of all classes."""

    def learn(self, statistics: PartitionStatistics) -> bool:
        """Take a partition's statistics; False where those known are as new."""
        known = self.newest.get(statistics.partition)
        if known and known.offset >= statistics.offset:
            return False
        self.newest[statistics.partition] = statistics
        return True

    def forget(self, partition: int) -> None:
        """Drop a partition's statistics."""
        self.newest.pop(partition, None)
        self._reduced.pop(partition, None)

    def sums(self, ages: Ages, fields: tuple[str, ...]) -> dict[str, Sums]:
        """Merge the partitions; only those that have changed, or aged, are summed again."""
        return merge(self._reduce(partition, ages, fields) for partition in self.newest)

    def _reduce(self, partition: int, ages: Ages, fields: tuple[str, ...]) -> dict[str, Sums]:
        statistics, known = self.newest[partition], self._reduced.get(partition)
        if known and known[0] == ages.moment_s and known[1] is statistics:
            return known[2]
        reduced = reduce_partition(statistics, ages, fields)
        self._reduced[partition] = (ages.moment_s, statistics, reduced)
        return reduced


class Book:
    """Evidence by class. Log time is the greatest that any partition has reported."""

    def __init__(self, settings: RoutingSettings, fold: str) -> None:
        self._settings, self._fold = settings, fold
        self._pages: dict[str, Page] = {}
        self._pool: Mapping[str, Sums] = {}
        self.log_time_ms = 0
        self._ages = self._ages_now()

    def _ages_now(self) -> Ages:
        return Ages(log_time_ms=self.log_time_ms, half_life_s=self._settings.half_life_s, keep_s=self._settings.keep_s)

    @property
    def classes(self) -> set[str]:
        """The classes that some partition has reported."""
        return set(self._pages)

    def learn(self, statistics: PartitionStatistics) -> bool:
        """Take a partition's running total; False where it is another fold's, or not newer than what is known."""
        if statistics.fold != self._fold:
            return False
        self._advance(statistics.log_time_ms)
        return self._pages.setdefault(statistics.query_class, Page()).learn(statistics)

    def _advance(self, log_time_ms: int) -> None:
        if log_time_ms > self.log_time_ms:
            self.log_time_ms = log_time_ms
            ages = self._ages_now()
            self._ages = ages if ages.moment_s != self._ages.moment_s else self._ages

    def forget(self, query_class: str, partition: int, fold: str) -> bool:
        """Drop what a partition said of a class; False where nothing is known of it."""
        page = self._pages.get(query_class)
        if fold != self._fold or page is None or partition not in page.newest:
            return False
        page.forget(partition)
        return True

    def drop(self, query_class: str) -> None:
        """Drop a class that has nothing any more."""
        self._pages.pop(query_class, None)

    def evidence(self, query_class: str) -> ClassEvidence:
        """Make a class's evidence as of now; `*` is all classes together, and renews the pool that others have as their prior."""
        if query_class == ANY_CLASS:
            return class_evidence(ANY_CLASS, self._renew_pool(), self._settings, log_time_ms=self.log_time_ms)
        page = self._pages.get(query_class, Page())
        sums = page.sums(self._ages, self._settings.arm_fields)
        priors = self._priors(page)
        return class_evidence(query_class, sums, self._settings, priors=priors, log_time_ms=self.log_time_ms)

    def _renew_pool(self) -> Mapping[str, Sums]:
        for page in self._pages.values():
            page.pooled = page.sums(self._ages, self._settings.arm_fields)
        self._pool = merge(page.pooled for page in self._pages.values())
        return self._pool

    def _priors(self, page: Page) -> dict[str, Tally]:
        """What the other classes say of each arm."""
        return {arm_id: _scores(pooled).minus(_scores(page.pooled.get(arm_id))) for arm_id, pooled in self._pool.items()}


def _scores(sums: Sums | None) -> Tally:
    return sums.drawn.plus(sums.confounded) if sums else NO_SCORES
