"""The straightforward Faust agent: per event, one write to a table and one to a table with a hopping window."""

from __future__ import annotations

import logging
import sys
from typing import Any

import faust

from benchmarks.contestants.clock import STEP_S, TOPIC, WINDOW_S, Clock, added, options, read

TABLES = ("totals", "windows")


def changelogs(name: str) -> list[str]:
    """The topics that must be there before it starts: a broker of today refuses how Faust creates them."""
    return [f"{name}-{table}-changelog" for table in TABLES]


def create(bootstrap: str, records: int, folder: Any, name: str) -> faust.App:
    """Build the app."""
    app = faust.App(
        name, broker=f"aiokafka://{bootstrap}", store="memory://", topic_partitions=8, topic_disable_leader=True, topic_allow_declare=False,
        consumer_auto_offset_reset="earliest", web_enabled=False, autodiscover=False, datadir=folder,
    )  # fmt: skip
    traces = app.topic(TOPIC, value_type=bytes, value_serializer="raw")
    totals = app.Table("totals", default=dict)
    windows = app.Table("windows", default=int).hopping(WINDOW_S, STEP_S, expires=3_600)
    clock = Clock(records)

    @app.agent(traces, name="count")
    async def count(stream: Any) -> None:
        async for value in stream:
            record = read(value)
            if clock.is_trace(record):
                totals[record["query_class"]] = added(totals[record["query_class"]], record)
                windows[record["query_class"]] += 1
                clock.one()

    return app


if __name__ == "__main__":
    given = options()
    sys.argv = sys.argv[:1]
    logging.basicConfig(level=logging.WARNING)
    app = create(given.bootstrap, given.records, given.folder, given.name)
    faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()
