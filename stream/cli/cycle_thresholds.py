"""Where the thresholds stand that fire learning cycles, read off the topics as the worker reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stream.cli.common import plain

if TYPE_CHECKING:
    from stream.learning.triggers.thresholds import Reading
    from stream.settings import Settings

COUNTS = ("new traces", "new ratings", "new pairs")


async def read_thresholds(settings: Settings, agent: str) -> list[dict[str, Any]] | str:
    """Read every threshold that is set, of all agents and of each, or of one; why none can be read, where none can.

    Args:
        settings: of the deployment.
        agent: whose own thresholds are shown alone; empty: everybody's.
    """
    from stream.cli.cycles import read_history
    from stream.cli.routes import read_overview
    from stream.errors import BrokerUnavailableError, TopicMismatchError
    from stream.learning.triggers.thresholds import Asked, Rules, readings
    from stream.learning.triggers.watching import Watch

    rules, asked, watch = Rules.of(settings), Asked(), Watch(min_quality=settings.min_quality)
    if not rules.are_set:
        return "no threshold is set (EDDY_CYCLE_AFTER_TRACES and so on, EDDY_CYCLE_AGENTS): cycles are run when they are asked for"
    try:
        history, overview = await read_history(settings), await read_overview(settings, keep_statistics=True)
    except (BrokerUnavailableError, TopicMismatchError) as exc:
        return f"where the thresholds stand is not known: {exc}"
    for told in reversed(history.newest(len(history))):
        asked.note(told.agent, told.requested_at, told.evidence)
    totals = overview.statistics
    for _ in watch.follow(totals):
        pass
    log_time_s = max((total.log_time_ms for total in totals), default=0) / 1000
    return [_report(each) for read in readings(watch, rules, asked, log_time_s=log_time_s) for each in read if not agent or each.agent in ("", agent)]


def lines_of(thresholds: list[dict[str, Any]] | str) -> Iterator[str]:
    """Lay them out for people."""
    if isinstance(thresholds, str):
        yield thresholds
        return
    for each in thresholds:
        whose = f"of {plain(each['agent'])}" if each["agent"] else "of all"
        yield f"  {'fires' if each['fires'] else '–':<6} {each['trigger']:<14} {whose:<20} {_said(each)}"


def _said(each: dict[str, Any]) -> str:
    trigger, value, threshold = each["trigger"], each["value"], each["threshold"]
    if trigger in COUNTS:
        said = f"{value:,.0f} of {threshold:,.0f}"
    elif trigger == "time":
        said = f"{value:,.0f} s of {threshold:,.0f} s"
    elif not value:
        said = f"no change is confirmed by the test; fires from {threshold:g} on"
    else:
        where = f" of class {plain(each['evidence']['query_class'])}" if trigger == "drift" else ""
        said = f"the mean score{where} has {'changed' if trigger == 'drift' else 'fallen'} by {value:.3f} of {threshold:g}"
    return said + (f"; not before {each['wait_s']:,.0f} s more, the cooldown" if each["wait_s"] else "")


def _report(reading: Reading) -> dict[str, Any]:
    names = ("agent", "trigger", "value", "threshold", "wait_s", "evidence")
    return {name: getattr(reading, name) for name in names} | {"fires": reading.is_crossed and not reading.wait_s}
