"""Reading the archive for `eddy routes evaluate` and `eddy report`: what a policy would have earned, and what routing has earned."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from stream.archive.draws import Silence, read_draws
from stream.archive.hindsight import Hindsight
from stream.archive.reader import ArchiveReader
from stream.archive.restore import ARCHIVE_FILE
from stream.errors import EddyError
from stream.fold.spec import FoldSpec
from stream.reading.query_class import classifier
from stream.reading.reward import reward_function
from stream.records import Arm
from stream.routing.contextual import NAME as CONTEXTUAL
from stream.routing.off_policy import Evaluation, evaluate
from stream.routing.off_policy_draws import Columns, LoggedDraw, only
from stream.routing.registry import policy_named
from stream.routing.settings import RoutingSettings, project

if TYPE_CHECKING:
    from stream.settings import Settings

UNITS_S = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
SHOWN_EVERY = 500
"""Traces between two moves of the progress bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindsights:
    """What the archive says of a target in a period.

    Attributes:
        target: in words.
        traces: of the period.
        reward: what its draws are judged by: `quality`, or the reward that the settings name.
        caveats: how the target differs from what would have run, one sentence each.
        evaluation: of their draws.
    """

    target: str
    traces: int
    reward: str
    caveats: tuple[str, ...]
    evaluation: Evaluation

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        said = self.evaluation
        known = {"target": self.target, "traces": self.traces, "judged_by": self.reward, "caveats": self.caveats, "can_tell": said.can_tell}
        return known | asdict(said) | {"reward_if_unrated_fail_or_succeed": said.reward.worst_case}


def seconds_of(period: str) -> float:
    """Read a period such as `7d`.

    Raises:
        EddyError: it is none.

    Example:
        >>> seconds_of("7d"), seconds_of("90m"), seconds_of("1.5h")
        (604800.0, 5400.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", period)
    if not found or not float(found[1]):
        raise EddyError(f"{period!r} is no period, but one is a number above 0 and m, h, d or w; write 7d for the last week")
    return float(found[1]) * UNITS_S[found[2]]


def look_back(settings: Settings, *, policy: str | None, arm: str | None, since: str, query_class: str | None = None, quiet: bool = False) -> Hindsights:
    """Judge a policy, or always the same arm, by the archived draws of a period.

    Args:
        settings: of the deployment: where the archive is, how arms are named, and what policies are given.
        policy: a name of the registry; decides anew as the log goes on, by what stood in it before each request.
        arm: id of an arm that serves all; outranks the policy.
        since: the period, up to now.
        query_class: only of this class.
        quiet: whether to show no progress.

    Raises:
        EddyError: there is no archive, no trace in the period, or no trace whose arm was drawn.
        SettingsError: there is no such policy.
    """
    routing = RoutingSettings.of(settings)
    routing = replace(routing, policy=policy or routing.policy)
    policy_named(routing.policy)
    arm = project(_arm(arm), routing.arm_fields).id if arm else None
    since_ms = int((time.time() - seconds_of(since)) * 1000)
    with _reader(settings) as reader, _progress(reader.count(query_class=query_class), quiet=quiet) as advance:
        traces, columns = _collect(reader, settings, routing, arm, since_ms, query_class, advance)
    period = f"the last {since}{f' in class {query_class!r}' if query_class else ''}"
    if not traces:
        raise EddyError(f"no trace of {period} is archived, but only what happened can be judged; look further back with --since")
    if not len(columns):
        raise EddyError(f"no router drew the arm of any of the {traces:,} traces of {period}, but only draws of known propensity can be judged; route through stream.client")
    return Hindsights(
        target=f"always {arm}" if arm else f"policy {routing.policy}",
        traces=traces,
        reward=routing.reward,
        caveats=() if arm else tuple(caveats(routing)),
        evaluation=evaluate(columns.draws(), columns.target()),
    )


def _arm(name: str) -> Arm:
    try:
        return Arm.parse(name)
    except ValueError as exc:
        raise EddyError(str(exc)) from exc


def caveats(routing: RoutingSettings) -> Iterator[str]:
    """Say what of a policy cannot be replayed from a log, one sentence each."""
    if routing.max_cost_usd is not None or routing.max_latency_s is not None:
        yield "Ceilings are not held here, since their prices follow what was spent by those who drew; compare its cost and latency with them."
    if routing.policy == CONTEXTUAL:
        yield "It is judged by what it does without the text of a request, as where its model is not at hand."


def _reader(settings: Settings) -> ArchiveReader:
    path = settings.data_dir / ARCHIVE_FILE
    try:
        return ArchiveReader(path)
    except FileNotFoundError as exc:
        raise EddyError(f"there is no archive at {path}, but estimates are made from it; run `eddy up` or `eddy learner`, or set EDDY_DATA_DIR") from exc


def _collect(
    reader: ArchiveReader, settings: Settings, routing: RoutingSettings, arm: str | None, since_ms: int, query_class: str | None, advance: Callable[[int], None]
) -> tuple[int, Columns]:
    """Read the draws, each with the target's probabilities at its moment."""
    spec, traces = FoldSpec.of(settings), 0
    columns = Columns(calibrates=not settings.keeps_tenants_apart)
    hindsight = None if arm else Hindsight(routing, spec, classifier(settings.classifier))
    reward = reward_function(spec.reward, spec.reward_without)
    before = hindsight.take if hindsight else None
    silence = Silence(deadline_s=settings.silence_s, source="reward" if reward else "outcome", apart=settings.keeps_tenants_apart) if settings.silence == "failure" else None
    from_ms = since_ms - routing.keep_s * 1000 if hindsight else None
    draws = read_draws(reader, fields=routing.arm_fields, since_ms=since_ms, query_class=query_class, before=before, from_ms=from_ms, reward=reward, silence=silence)
    for draw in draws:
        traces += 1
        if traces % SHOWN_EVERY == 0:
            advance(SHOWN_EVERY)
        if draw is not None:
            columns.add(draw, _probabilities(hindsight, arm, draw))
    return traces, columns


def _probabilities(hindsight: Hindsight | None, arm: str | None, draw: LoggedDraw) -> Mapping[str, float]:
    return only(arm or "") if hindsight is None else hindsight.probabilities(draw.query_class)


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task("reading the archive", total=total)
        yield lambda count: bar.update(task, advance=count)
