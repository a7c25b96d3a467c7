"""`eddy routes`: what routers draw from now, and why."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.common import JsonOption, load_settings, note, plain, print_json, run, table_of, wide_console
from stream.errors import EddyError
from stream.records import ANY_CLASS, class_of_tenant

if TYPE_CHECKING:
    from stream.overview import Overview
    from stream.settings import Settings

COLUMNS = ("arm", "share", "mean", "interval", "traces", "rated", "worst case", "cost", "latency", "state")
REDRAW_S = 0.5

routes = typer.Typer(help="What routers draw from now, per query class.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(routes, name="routes")


@routes.callback()
def show(
    context: typer.Context,
    as_json: JsonOption = False,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Show one tenant's classes alone (EDDY_TENANTS=apart).")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on and show every change; with --json one line per change.")] = False,
) -> None:
    """Show every class: traces counted, and per arm its share of draws, mean reward with interval, cost and latency."""
    if context.invoked_subcommand is not None:
        return
    settings = load_settings()
    if tenant is not None and not settings.keeps_tenants_apart:
        raise EddyError(f"tenant {tenant!r} has no routes of its own, since tenants are shared; `eddy routes` shows those of all, and EDDY_TENANTS=apart keeps them apart")
    if watch:
        _watch(settings, as_json=as_json, tenant=tenant)
        return
    report = report_of(run(read_overview(settings)), tenant)
    if as_json:
        print_json(report)
    else:
        _print(report)


@routes.command()
def explain(query_class: Annotated[str, typer.Argument(help="The class, as `eddy routes` names it.")], as_json: JsonOption = False) -> None:
    """Say why routers draw for a class as they do.

    Evidence, policy, overrides, and what would change it.
    """
    from stream.cli.explaining import explain_class, lines_of

    settings = load_settings()
    explanation = explain_class(settings, run(read_overview(settings, keep_statistics=True)), query_class)
    if as_json:
        print_json(explanation)
    else:
        print("\n".join(lines_of(explanation)))


async def read_overview(settings: Settings, *, keep_statistics: bool = False) -> Overview:
    """Read the topics that say what is learned, to their true ends.

    Args:
        settings: how the broker is reached.
        keep_statistics: whether the totals themselves are needed.

    Raises:
        BrokerUnavailableError: nothing answers at the address.
        TopicMismatchError: a topic is not there.
    """
    from stream.overview import TOPICS, Overview
    from stream.topic_reader import reading

    overview = Overview(settings.arm_fields, keep_statistics=keep_statistics, rollout=settings.rollout)
    async with reading(settings, *TOPICS) as reader:
        async for record in reader.to_end():
            overview.take(record.topic, record.key, record.value)
    return overview


def report_of(overview: Overview, tenant: str | None) -> dict[str, Any]:
    """Put an overview together, of one tenant's classes alone where one is named; `any_class` is then what its other classes draw from."""
    report = overview.report()
    if tenant is None:
        return report
    prefix, pool = class_of_tenant(tenant, ""), class_of_tenant(tenant, ANY_CLASS)
    classes = {name: entry for name, entry in report["classes"].items() if name.startswith(prefix)}
    any_class = classes.pop(pool, report["any_class"])
    return report | {"traces": sum(entry["count"] for entry in classes.values()), "any_class": any_class, "classes": classes}


def rows_of(entry: dict[str, Any]) -> list[tuple[str, ...]]:
    """Lay out the arms of one class for people."""
    return [
        (
            name or "(no model)",
            _known(arm.get("probability"), "{:.1%}"),
            _known(arm.get("mean"), "{:.3f}"),
            "{:.2f}–{:.2f}".format(*arm["interval"]) if arm.get("interval") else "–",
            f"{arm['count']:,}" + (f" ({waiting:,} to come)" if (waiting := arm.get("unresolved")) else ""),
            _rated(arm),
            "{:.2f}–{:.2f}".format(*arm["worst_case"]) if arm.get("worst_case") else "–",
            _known(arm.get("cost_usd"), "${:.3g}"),
            _known(arm.get("latency_s"), "{:.3g} s"),
            arm.get("state", "–"),
        )
        for name, arm in entry["arms"].items()
    ]


def tables_of(report: dict[str, Any], *, most: int | None = None) -> list[Any]:
    """Lay out a report: one table per class, those with most traces first."""
    entries = list(report["classes"].items())[:most]
    return [table_of(COLUMNS, rows_of(entry), title=f"{name or '(no class)'}: {entry['count']:,} traces, {_proof_of(entry)}") for name, entry in entries]


def _proof_of(entry: dict[str, Any]) -> str:
    """Say whether the stopping rule names a best arm, and how far off that is: the last clause of an update's reason."""
    return entry.get("reason", "").rpartition("; ")[2] or "no best arm is known yet"


def _rated(arm: dict[str, Any]) -> str:
    share = arm.get("rated_share")
    return _known(arm.get("rated_count"), "{:,}") + ("" if share is None else f" ({share:.0%})")


def _known(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)


def _print(report: dict[str, Any]) -> None:
    console = wide_console()
    for table in tables_of(report):
        console.print(table, end="\n\n")
    if not report["classes"]:
        note("nothing has been counted yet; send a trace with `eddy publish --example`")
    if report["rollout"] < 1:
        console.print(_said_of_rollout(report["rollout"]))
    for key in report["overrides"].keys() - {"active_fold"}:
        console.print(f"override: {plain(key)}")


def _said_of_rollout(share: float) -> str:
    """Say how much of the traffic follows the shares above."""
    if share == 0:
        return "this deployment only observes: the default arm serves every request, and the shares show what would be drawn"
    return f"rollout: {share:.1%} of the requests follow the shares above, the default arm serves the rest"


def _watch(settings: Settings, *, as_json: bool, tenant: str | None) -> None:
    try:
        run(_follow_as_tables(settings, tenant) if sys.stdout.isatty() and not as_json else _follow_as_text(settings, print_json if as_json else _print, tenant))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def _follow_as_text(settings: Settings, show: Callable[[dict[str, Any]], None], tenant: str | None) -> None:
    from stream.overview import TOPICS, Overview
    from stream.topic_reader import reading

    overview, last = Overview(settings.arm_fields, rollout=settings.rollout), None
    async with reading(settings, *TOPICS) as reader:
        async for records in reader.follow():
            for record in records:
                overview.take(record.topic, record.key, record.value)
            if (report := report_of(overview, tenant)) != last:
                show(last := report)
                sys.stdout.flush()  # whoever reads a pipe must see a change when it comes


async def _follow_as_tables(settings: Settings, tenant: str | None) -> None:
    from rich.console import Group
    from rich.live import Live

    from stream.overview import TOPICS, Overview
    from stream.topic_reader import reading

    overview, drawn_s = Overview(settings.arm_fields, rollout=settings.rollout), 0.0
    with Live(auto_refresh=False, vertical_overflow="ellipsis") as live:
        async with reading(settings, *TOPICS) as reader:
            async for records in reader.follow():
                for record in records:
                    overview.take(record.topic, record.key, record.value)
                if time.monotonic() - drawn_s > REDRAW_S:
                    live.update(Group(*tables_of(report_of(overview, tenant))), refresh=True)
                    drawn_s = time.monotonic()
                await asyncio.sleep(0)
