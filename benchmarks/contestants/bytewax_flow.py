"""The same job in Bytewax: keyed by class, totals and a sliding window, with recovery snapshots every second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main

from benchmarks.contestants.clock import STEP_S, TOPIC, WINDOW_S, Clock, added, options, read

Keyed = tuple[str, tuple[datetime, dict[str, Any]]]


class Nowhere(StatelessSinkPartition[Any]):
    """Drops what it is given."""

    def write_batch(self, items: list[Any]) -> None:
        """Drop it."""


class NoSink(DynamicSink[Any]):
    """Takes what a dataflow must put out."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Nowhere:
        """Make a worker's."""
        return Nowhere()


def flow_of(bootstrap: str, clock: Clock) -> Dataflow:
    """Build the dataflow."""

    def keyed(message: KafkaSourceMessage) -> Keyed | None:
        record = read(message.value)
        return (record["query_class"], (datetime.fromtimestamp(message.timestamp[1] / 1000, UTC), record)) if clock.is_trace(record) else None

    def total(totals: dict[str, list[float]] | None, value: tuple[datetime, dict[str, Any]]) -> tuple[dict[str, list[float]], None]:
        clock.one()
        return added(totals, value[1]), None

    flow = Dataflow("traces")
    traces = op.filter_map("read", op.input("log", flow, KafkaSource([bootstrap], [TOPIC], add_config={"group.id": "bytewax"})), keyed)
    op.output("totals", op.stateful_map("total", traces, total), NoSink())
    event_time = win.EventClock(lambda value: value[0], wait_for_system_duration=timedelta(seconds=STEP_S))
    sliding = win.SlidingWindower(length=timedelta(seconds=WINDOW_S), offset=timedelta(seconds=STEP_S), align_to=datetime(2020, 1, 1, tzinfo=UTC))
    windows = win.fold_window("window", traces, event_time, sliding, int, lambda number, _: number + 1, lambda one, other: one + other)
    op.output("windows", windows.down, NoSink())
    return flow


def main() -> None:
    """Read until ended."""
    given = options()
    snapshots = given.folder / given.name
    snapshots.mkdir(parents=True)
    init_db_dir(snapshots, 1)
    cluster_main(flow_of(given.bootstrap, Clock(given.records)), [], 0, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(str(snapshots)))


if __name__ == "__main__":
    main()
