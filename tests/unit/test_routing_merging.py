"""Merging: whatever totals came and went, what is left is exactly what a fresh sum of the newest ones would be."""

from __future__ import annotations

import random

from stream.fold.totals import MICRO
from stream.records import ANY_CLASS, PartitionStatistics
from stream.routing.book import Book
from stream.routing.merging import Merged, changes
from stream.routing.settings import RoutingSettings
from stream.routing.weighing import Ages
from tests.unit.routing_support import DAY_S, FOLD, NOW_S, row, scored, statistics

SETTINGS = RoutingSettings(half_life_s=3_600.0)
AGES = Ages(log_time_ms=NOW_S * 1000, half_life_s=3_600.0, keep_s=32 * DAY_S)
CLASSES = ("code", "math", "chat")


def random_total(rng: random.Random, *, offset: int) -> PartitionStatistics:
    """A total of some minutes, hours and days of a few arms; at times of none at all."""
    arms = {
        f"m{arm}|a{rng.randrange(2)}": [
            row(*(rng.choice((0.0, 1.0, 0.25)) for _ in range(rng.randrange(1, 6))), width_s=width_s, start_s=NOW_S - (1 + back) * width_s, drawn=drawn)
            for width_s in (60, 3600, DAY_S)
            for back in range(rng.randrange(4))
            for drawn in (0, 1)
        ]
        for arm in range(rng.randrange(4))
    }
    return statistics(arms, query_class=rng.choice(CLASSES), partition=rng.randrange(5), offset=offset)


def told(book: Book) -> list[object]:
    return [book.evidence(name) for name in (*CLASSES, ANY_CLASS)]


def test_history_leaves_no_trace_in_the_evidence() -> None:
    """Two hundred totals that replace each other, tombstones between them: equal to the last bit to a book of what is left, in any order."""
    for seed in range(10):
        rng = random.Random(seed)
        book, left = Book(SETTINGS, FOLD), {}
        for offset in range(1, 200):
            total = random_total(rng, offset=offset)
            book.learn(total)
            left[total.query_class, total.partition] = total
            book.evidence(rng.choice(CLASSES))
            if rng.random() < 0.1:
                query_class, partition = rng.choice(list(left))
                assert book.forget(query_class, partition, FOLD)
                del left[query_class, partition]
        fresh, remaining = Book(SETTINGS, FOLD), list(left.values())
        rng.shuffle(remaining)
        for total in remaining:
            fresh.learn(total)

        assert told(book) == told(fresh)


def test_evidence_is_the_weighted_sum_of_all_rows() -> None:
    """Against the obvious loop: of every row, scores and their squares times what its age leaves of them."""
    rng = random.Random(3)
    totals = [random_total(rng, offset=1) for _ in range(20)]
    merged = Merged()
    expected: dict[str, list[float]] = {}
    for total in totals:
        merged.change(changes(None, total, ("model",)))
        for statistic in total.arms:
            for width_s, start_s, drawn, *sums in statistic.buckets:
                weight = 0.5 ** (max(NOW_S - start_s - width_s / 2, 0.0) / 3_600.0)
                numbers = expected.setdefault(statistic.arm.model, [0.0] * 4)
                numbers[drawn] += weight * sums[9]
                numbers[2 + drawn] += weight * sums[10] / MICRO

    found = merged.weighed(AGES)

    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        arm = found[name]
        assert all(abs(a - b) < 1e-9 for a, b in zip((arm.confounded.weight, arm.drawn.weight, arm.confounded.total, arm.drawn.total), numbers, strict=True))


def test_only_what_has_changed_is_compared_further() -> None:
    """A total is the running one: of six arms that it lists, a trace has changed one bucket of one."""
    before = statistics({"a": [row(1), row(1, start_s=NOW_S - 120)], "b": scored(1, 0)}, offset=1)
    after = statistics({"a": [row(1, 0), row(1, start_s=NOW_S - 120)], "b": scored(1, 0)}, offset=2)

    assert [(arm_id, gone, come) for arm_id, _, gone, come in changes(before, after, ("model",))] == [("a", {row(1)}, {row(1, 0)})]


def test_a_dropped_class_leaves_the_pool() -> None:
    """What has aged out, or is another fold's, must not be anybody's prior."""
    book = Book(SETTINGS, FOLD)
    book.learn(statistics({"a": scored(9, 0)}, query_class="gone"))
    book.learn(statistics({"b": scored(1, 0)}, query_class="code"))
    book.drop("gone")

    assert [arm.id for arm in book.evidence(ANY_CLASS).arms] == ["b"]
