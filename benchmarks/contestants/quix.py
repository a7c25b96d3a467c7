"""The same job in Quix Streams: regrouped by class, since state belongs to a key; totals and a hopping window, with changelogs."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State

from benchmarks.contestants.clock import STEP_S, TOPIC, WINDOW_S, Clock, added, options, read


def main() -> None:
    """Read until ended."""
    given = options()
    clock = Clock(given.records)
    app = Application(broker_address=given.bootstrap, consumer_group=given.name, auto_offset_reset="earliest", state_dir=given.folder / given.name, loglevel="WARNING")
    source = app.topic(TOPIC, key_deserializer="bytes", value_deserializer="bytes")
    traces = app.dataframe(source).apply(read).filter(clock.is_trace)
    by_class = traces.apply(_needed).group_by("query_class")

    def total(record: dict[str, Any], state: State) -> None:
        state.set("totals", added(state.get("totals"), record))
        clock.one()

    by_class.update(total, stateful=True)
    by_class.hopping_window(WINDOW_S * 1_000, STEP_S * 1_000).count().current()
    app.run()


def _needed(record: dict[str, Any]) -> dict[str, Any]:
    """What the regrouped record carries: the fewer bytes, the cheaper."""
    return {name: record[name] for name in ("query_class", "model", "cost_usd", "total_tokens", "total_latency_seconds")}


if __name__ == "__main__":
    main()
