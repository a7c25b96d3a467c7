"""What people are shown: totals added up, the newest update, the fold that counts."""

from __future__ import annotations

import msgspec

from stream.cli.routes import report_of
from stream.fold.totals import SUMS, Sum
from stream.overview import Overview
from stream.records import Arm, ArmRouting, ArmStatistics, Override, PartitionStatistics, RoutingUpdate
from stream.topics import OVERRIDES, ROUTING, STATISTICS


def statistics(*, fold: str = "f", partition: int = 0, offset: int, counts: dict[Arm, int]) -> tuple[str, bytes, bytes]:
    def row(count: int) -> tuple[int, ...]:
        values = [60, 0, 0] + [0] * SUMS
        values[3 + Sum.COUNT] = count
        return tuple(values)

    arms = tuple(ArmStatistics(arm=arm, buckets=(row(count),)) for arm, count in counts.items())
    record = PartitionStatistics(fold=fold, partition=partition, offset=offset, log_time_ms=0, query_class="code", arms=arms)
    return STATISTICS.name, f"{fold}/{partition}/code".encode(), msgspec.json.encode(record)


def update(query_class: str, version: tuple[int, int], share: float) -> tuple[str, bytes, bytes]:
    arm = ArmRouting(
        id="m", arm=Arm(model="m"), probability=share, mean=None, interval=None, effective_count=0, rated_count=0, count=0, cost_usd=None, latency_s=None, state="active"
    )
    record = RoutingUpdate(
        query_class=query_class, fold="f", policy="p", version=version, log_time_ms=0, exploration_share=0, interval_method="i", alpha=0.1, best_arm=None, reason="", arms=(arm,)
    )
    return ROUTING.name, query_class.encode(), msgspec.json.encode(record)


def overview(*records: tuple[str, bytes, bytes | None], arm_fields: tuple[str, ...] = ("model",)) -> Overview:
    made = Overview(arm_fields)
    for record in records:
        made.take(*record)
    return made


def test_counts_merge_partitions_and_arms_that_are_not_routed_over() -> None:
    """Routed over models: m served by two agents in two partitions is one arm with 3 + 4 + 5 traces."""
    x, y = Arm(model="m", agent="x"), Arm(model="m", agent="y")

    report = overview(statistics(offset=1, counts={x: 3, y: 4}), statistics(partition=1, offset=1, counts={x: 5})).report()

    assert report["classes"]["code"] == {"count": 12, "arms": {"m": {"count": 12}}}


def test_older_total_of_a_zombie_changes_nothing() -> None:
    """Whoever computes the state at an offset computes the same, so the highest offset wins, whenever it is read."""
    m = Arm(model="m")

    read = overview(statistics(offset=9, counts={m: 9}), statistics(offset=4, counts={m: 4}))

    assert read.trace_count == 9


def test_rollout_is_the_smaller_of_setting_and_word() -> None:
    """People must see that a deployment only observes, whoever said so."""
    word = (OVERRIDES.name, b"rollout/*", msgspec.json.encode(Override(kind="rollout", share=0.25)))
    shares = {}
    for own in (0.0, 1.0):
        read = Overview(("model",), rollout=own)
        shares[own] = [read.report()["rollout"]]
        read.take(*word)
        shares[own].append(read.report()["rollout"])

    assert shares == {0.0: [0.0, 0.0], 1.0: [1.0, 0.25]}


def test_routes_of_one_tenant_are_its_classes_alone() -> None:
    """`acme` is shown its own classes, and its pool as what its other classes draw from; a tenant never seen, the pool of none."""
    read = overview(*(update(name, (1, 1), share) for name, share in (("acme|code", 0.5), ("acme|*", 0.25), ("acme\\|b|code", 0.1), ("*", 0.75))))

    acme, unknown = report_of(read, "acme"), report_of(read, "nobody")

    assert (set(acme["classes"]), acme["any_class"]["arms"]["m"]["probability"]) == ({"acme|code"}, 0.25)
    assert (set(unknown["classes"]), unknown["any_class"]["arms"]["m"]["probability"]) == (set(), 0.75)


def test_only_the_active_fold_counts() -> None:
    """While a rebuild folds the log anew, two folds stand on the topic; adding them up would count every trace twice."""
    m = Arm(model="m")
    both = [statistics(fold=fold, offset=9, counts={m: 9}) for fold in ("old", "new")]
    named = (OVERRIDES.name, b"active_fold", msgspec.json.encode(Override(kind="active_fold", fold="old")))

    read = overview(*both, named)

    assert (read.fold, read.trace_count) == ("old", 9)


def test_newest_version_of_an_update_is_shown() -> None:
    """Versions are compared as (epoch, counter): 2.1 is newer than 1.9, in whatever order they stand."""
    report = overview(update("code", (2, 1), 0.75), update("code", (1, 9), 0.25)).report()

    assert report["classes"]["code"]["version"] == [2, 1]
    assert report["classes"]["code"]["arms"]["m"]["probability"] == 0.75


def test_update_for_any_class_is_no_class_of_its_own() -> None:
    """`*` is what routers fall back to; counted among the classes it would make them unequal to a published file's."""
    report = overview(update("*", (1, 1), 1.0)).report()

    assert report["classes"] == {}
    assert report["any_class"]["arms"]["m"]["probability"] == 1.0


def test_tombstones_and_unreadable_records_take_away_or_change_nothing() -> None:
    """A retired key leaves; a record of another kind, or no JSON, is passed over."""
    kept = statistics(offset=1, counts={Arm(model="m"): 2})

    read = overview(kept, (STATISTICS.name, b"x", b"{not json"), (ROUTING.name, b"code", b"{}"), update("gone", (1, 1), 1.0), (ROUTING.name, b"gone", None))
    emptied = overview(kept, (kept[0], kept[1], None))

    assert list(read.report()["classes"]) == ["code"]
    assert emptied.trace_count == 0
