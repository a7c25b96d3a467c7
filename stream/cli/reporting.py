"""`eddy routes evaluate` and `eddy report`: what another policy would have earned, and what routing is worth, from the archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.common import JsonOption, load_settings, plain, print_json, print_table
from stream.cli.routes import routes
from stream.errors import EddyError

if TYPE_CHECKING:
    from stream.cli.evaluating import Hindsights
    from stream.routing.off_policy import Evaluation, Quantity

SinceOption = Annotated[str, typer.Option("--since", help="The period, up to now: a number and m, h, d or w.")]
COLUMNS = ("a request", "target", "95 %", "at any time", "as it was routed", "95 %", "difference", "95 %", "effective", "known")
QUANTITIES = (("reward", "{:.3f}"), ("cost_usd", "${:.3g}"), ("latency_s", "{:.3g} s"))

LEAST_SHOWN = 0.001
"""A share, or seconds, below which nothing is said."""
WORDS = {
    "reward": ("earned +{} {what}", "lost {} {what}", "{:.3f}"),
    "saved_usd": ("saved {}", "cost {} more", "${:,.2f}"),
    "saved_s": ("answered {} s faster", "answered {} s slower", "{:.2f}"),
}
"""Of each gain: what to say where it is one, what where it is a loss, and how its numbers are written."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    routes.command()(evaluate)
    app.command()(report)


def evaluate(
    policy: Annotated[str | None, typer.Option("--policy", help="A policy of the registry; the one that is set when left out.")] = None,
    arm: Annotated[str | None, typer.Option("--arm", help="Instead of a policy: this arm always.")] = None,
    since: SinceOption = "7d",
    query_class: Annotated[str | None, typer.Option("--class", help="Only this class.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate what a policy would have earned and cost.

    From the archived draws of a period; says when they cannot tell.
    """
    from stream.cli.evaluating import look_back

    found = look_back(load_settings(), policy=policy, arm=arm, since=since, query_class=query_class, quiet=as_json)
    if as_json:
        print_json(found.as_json())
        return
    print("\n".join(plain(line, most=1_000) for line in headline(found)))
    print_table(COLUMNS, rows_of(found.evaluation))


def report(
    since: SinceOption = "7d",
    arm: Annotated[str | None, typer.Option("--arm", help="Compare with always this arm; the default arm when left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what routing has earned and saved.

    Against always using the default arm, from the archived draws of a period.
    """
    from stream.cli.evaluating import look_back

    settings = load_settings()
    against = arm or settings.default_arm
    if not against:
        raise EddyError("there is no default arm, but a report compares with one; set EDDY_DEFAULT_ARM or name it with --arm")
    found = look_back(settings, policy=None, arm=against, since=since, quiet=as_json)
    if as_json:
        print_json({"sentence": sentence(found, against), "gain": gains(found.evaluation), **found.as_json()})
        return
    print("\n".join(plain(line, most=1_000) for line in (sentence(found, against), *notes(found.evaluation))))
    print_table(COLUMNS, rows_of(found.evaluation))


def headline(found: Hindsights) -> Iterator[str]:
    """Say what was judged, by what, and whether it bears it; one sentence a line."""
    said = found.evaluation
    yield f"{found.target}: judged by {said.draws:,} draws ({said.draws / found.traces:.0%} of {found.traces:,} traces), worth {said.effective:,.0f} of its own."
    yield from (*notes(said), *found.caveats)
    if said.doubts:
        yield f"The logs cannot tell: {'; '.join(said.doubts)}."


def notes(said: Evaluation) -> Iterator[str]:
    """Say what the figures leave out; one sentence a line."""
    if said.unsupported >= LEAST_SHOWN:
        yield f"{said.unsupported:.1%} of the target's draws fall where the log could not have drawn; nothing is known of them."
    if said.reward.worst_case and said.reward.known_share <= 1 - LEAST_SHOWN:
        bounds = _between(said.reward.worst_case, "{:.3f}")
        yield f"{said.reward.known_share:.1%} of them are rated, and each counts for others of its arm: were those all failures or all successes, it would be {bounds}."


    for name, quantity in (("dollars", said.cost_usd), ("seconds", said.latency_s)):
        if quantity.draws and quantity.doubts:
            yield f"The logs cannot tell of {name}: {'; '.join(quantity.doubts)}."


def rows_of(said: Evaluation) -> list[tuple[str, ...]]:
    """Lay out the figures for people."""
    return [_row(name, getattr(said, name), form) for name, form in QUANTITIES]


def _row(name: str, quantity: Quantity, form: str) -> tuple[str, ...]:
    estimates = (quantity.best, quantity.logged, quantity.difference)
    target, logged, difference = ((_shown(one.value, form), _between(one.interval, form)) if one else ("–", "–") for one in estimates)
    anytime = _between(quantity.anytime, form) if quantity.anytime else "–"
    return (name, *target, anytime, *logged, *difference, f"{quantity.effective:,.0f}", f"{quantity.known_share:.0%}")


def _between(interval: tuple[float, float], form: str) -> str:
    return " to ".join(_shown(bound, form) for bound in interval)


def _shown(value: float, form: str) -> str:
    return f"{'-' if value < 0 else ''}{form.format(abs(value))}"


# ---- the report


def gains(said: Evaluation) -> dict[str, Any]:
    """What routing gained against the target: reward and seconds a request, dollars over all draws; each with its interval, or None."""
    return {
        "reward": _gain(said.reward, -1.0),
        "saved_usd": _gain(said.cost_usd, float(said.draws)),
        "saved_s": _gain(said.latency_s, 1.0),
    }


def _gain(quantity: Quantity, times: float) -> dict[str, Any] | None:
    """The target's less the logged, so many times; None where the log cannot tell."""
    difference = quantity.difference
    if difference is None or quantity.doubts:
        return None
    low, high = sorted(bound * times for bound in difference.interval)
    return {"value": difference.value * times, "interval": [low, high]}


def sentence(found: Hindsights, against: str) -> str:
    """Say in one plain sentence what routing was worth, or why that is not known and what would tell.

    Args:
        found: what the archive says of always using the arm.
        against: the arm's id.
    """
    said = found.evaluation
    if not said.can_tell:
        return f"The logs cannot tell what routing is worth against always using {against}: {'; '.join(said.doubts)}. {_remedy(said, against)}"
    told = {name: gain for name, gain in gains(said).items() if gain and (name != "saved_s" or abs(gain["value"]) >= LEAST_SHOWN)}
    parts = [_part(gain, *WORDS[name], what=found.reward) for name, gain in told.items()]
    return f"Routing {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]} over {said.draws:,} requests against always using {against}."


def _part(gain: dict[str, Any], better: str, worse: str, form: str, *, what: str) -> str:
    """Say one gain: `saved $12.10 ($8.00 to $16.20)`."""
    sign = 1.0 if gain["value"] >= 0 else -1.0
    low, high = sorted(sign * bound for bound in gain["interval"])
    maybe = ": it may be nothing" if low <= 0 <= high else ""
    gained = (better if sign > 0 else worse).format(form.format(abs(gain["value"])), what=what)
    return f"{gained} ({_between((low, high), form)}{maybe})"


def _remedy(said: Evaluation, against: str) -> str:
    from stream.routing.off_policy import LEAST_EFFECTIVE, MOST_UNSUPPORTED

    if said.unsupported > MOST_UNSUPPORTED:
        return f"It takes {against} among the candidates of every request, and not withdrawn."
    if 0 < said.reward.effective < LEAST_EFFECTIVE:
        wanted = round(said.reward.draws * LEAST_EFFECTIVE / said.reward.effective)
        return f"It takes some {wanted:,} rated draws at its present share, or a greater EDDY_EXPLORATION_SHARE."
    return f"It takes rated requests that a router drew {against} for, with the propensities that it drew with."
