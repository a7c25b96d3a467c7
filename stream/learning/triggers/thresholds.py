"""Thresholds on merged totals, since the last cycle was asked for: a function of totals, of log time and of what was asked for, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stream.fold.totals import MINUTE_S
from stream.learning.evolving.live import NAME
from stream.learning.triggers.watching import Course, Watch
from stream.learning.triggers.windows import Counts, counted, hopping, mean, since, tumbling
from stream.records import CycleRequested
from stream.routing.drift import changed_since

if TYPE_CHECKING:
    from stream.settings import Settings  # noqa: TID251 - a type only: `of` is given the value

EACH = "*"
"""For each agent that has no thresholds of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What fires a cycle; 0 fires none.

    Attributes:
        traces: that are new.
        rated: of them, those with a score.
        pairs: of them, those whose score is good enough to train on, at the least.
        drop: by how much the mean score has fallen, in reward, once a test confirms that it has changed.
        drift: by how much that of a class has changed, either way, once a test confirms it; of no agent alone.
        every_s: seconds of log time since the last cycle, if anything at all is new.
        cooldown_s: seconds of log time between two cycles, at least.
        window_s: length, in seconds, of the window that says how things are now.
        false_alarm: chance, in (0, 1), that a test ever confirms a change where nothing changes; of all agents, or classes, together.
    """

    traces: int = 0
    rated: int = 0
    pairs: int = 0
    drop: float = 0.0
    drift: float = 0.0
    every_s: float = 0.0
    cooldown_s: float = 3_600.0
    window_s: float = 3_600.0
    false_alarm: float = 0.01

    @property
    def are_set(self) -> bool:
        """Whether any of them can fire."""
        return any((self.traces, self.rated, self.pairs, self.drop, self.drift, self.every_s))


@dataclass(frozen=True, slots=True)
class Rules:
    """The thresholds of a deployment.

    Attributes:
        everywhere: for a cycle over all agents.
        agents: for a cycle over one, by its name, or for `EACH`.
    """

    everywhere: Thresholds = field(default_factory=Thresholds)
    agents: Mapping[str, Thresholds] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """Take them out of the deployment's settings."""
        window_s, false_alarm = settings.cycle_window_s, settings.cycle_false_alarm
        everywhere = Thresholds(
            traces=settings.cycle_after_traces,
            rated=settings.cycle_after_rated,
            pairs=settings.cycle_after_pairs,
            drop=settings.cycle_after_drop,
            drift=settings.cycle_after_drift,
            every_s=settings.cycle_every_s,
            cooldown_s=settings.cycle_cooldown_s,
            window_s=window_s,
            false_alarm=false_alarm,
        )
        return cls(everywhere, {name: Thresholds(**said.model_dump(), window_s=window_s, false_alarm=false_alarm) for name, said in settings.cycle_agents.items()})

    @property
    def are_set(self) -> bool:
        """Whether any of them can fire."""
        return any(thresholds.are_set for thresholds in (self.everywhere, *self.agents.values()))

    def of_agent(self, agent: str) -> Thresholds | None:
        """Those of an agent, where it has any and can have a configuration."""
        thresholds = self.agents.get(agent, self.agents.get(EACH))
        return thresholds if thresholds is not None and thresholds.are_set and NAME.fullmatch(agent) else None


@dataclass(frozen=True, slots=True)
class Last:
    """When a cycle was asked for last.

    Attributes:
        at_s: epoch seconds; 0: never.
        counted: what had been counted by then, where the request says so.
    """

    at_s: float = 0.0
    counted: Counts | None = None


@dataclass(slots=True)
class Asked:
    """When cycles were asked for last.

    Attributes:
        everywhere: over all agents.
        agents: over one alone.
    """

    everywhere: Last = field(default_factory=Last)
    agents: dict[str, Last] = field(default_factory=dict)

    def note(self, agent: str, requested_at: float, evidence: Mapping[str, Any]) -> None:
        """Note a request, by whomever; of all agents where none is named."""
        if requested_at > (self.agents.get(agent, Last()) if agent else self.everywhere).at_s:
            last = Last(requested_at, _counted(evidence.get("counted")))
            if agent:
                self.agents[agent] = last
            else:
                self.everywhere = last

    def last(self, agent: str, log_time_s: float) -> Last:
        """When what an agent did was in a cycle last: its own, or one over all; never after now."""
        own = self.agents.get(agent, Last())
        found = self.everywhere if not agent else own if own.at_s >= self.everywhere.at_s else Last(self.everywhere.at_s)
        return found if found.at_s <= log_time_s else Last(log_time_s)


def _counted(said: Any) -> Counts | None:
    """Read what a request says that had been counted; None where it says nothing of the kind: it is another process's word."""
    try:
        return {int(width): (int(traces), int(scored), int(good)) for width, (traces, scored, good) in said.items()}
    except (AttributeError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Where one threshold stands.

    Attributes:
        agent: whose it is; empty: of all.
        trigger: what it watches.
        value: of it now; of a change, 0 as long as no test confirms one.
        threshold: from which it fires.
        wait_s: seconds of log time until the cooldown is over.
        evidence: what was seen.
    """

    agent: str
    trigger: str
    value: float
    threshold: float
    wait_s: float
    evidence: dict[str, Any]

    @property
    def is_crossed(self) -> bool:
        """Whether it fires, once the cooldown is over."""
        return 0 < self.threshold <= self.value

    def request(self, log_time_s: float) -> CycleRequested:
        """Ask for a cycle.

        The request's id is made of what crossed and of when the last cycle was asked for: whoever looks at the same log again asks for the
        same cycle again, which changes nothing.
        """
        name = "-".join([*self.trigger.split(), *((self.agent,) if self.agent else ()), str(int(self.evidence["since"]))])
        return CycleRequested(cycle_id=name, trigger=self.trigger, agent=self.agent, requested_at=log_time_s, evidence={**self.evidence, "threshold": self.threshold})


def readings(watch: Watch, rules: Rules, asked: Asked, *, log_time_s: float) -> Iterator[list[Reading]]:
    """Read all thresholds that are set: those of all agents, then those of each that has its own.

    Args:
        watch: the totals.
        rules: of the deployment.
        asked: what was asked for until now.
        log_time_s: the greatest there is, epoch seconds.
    """
    if rules.everywhere.are_set:
        yield list(_readings(watch.everything, rules.everywhere, "", asked.last("", log_time_s), log_time_s, watch.classes))
    agents = {name: thresholds for name in sorted({*watch.agents, *rules.agents}) if name != EACH and (thresholds := rules.of_agent(name))}
    for name, thresholds in agents.items():
        yield list(_readings(watch.agents.get(name, Course()), thresholds, name, asked.last(name, log_time_s), log_time_s, {}, among=len(agents)))


def requests(watch: Watch, rules: Rules, asked: Asked, *, log_time_s: float) -> Iterator[CycleRequested]:
    """Ask for a cycle over all, or where none is due, over each agent whose thresholds say so: the first that is crossed says why."""
    for read in readings(watch, rules, asked, log_time_s=log_time_s):
        crossed = next((each for each in read if each.is_crossed and each.wait_s <= 0), None)
        if crossed is not None:
            yield crossed.request(log_time_s)
            if not crossed.agent:
                return


def _readings(course: Course, thresholds: Thresholds, agent: str, last: Last, log_time_s: float, classes: Mapping[str, Course], *, among: int = 1) -> Iterator[Reading]:
    last_s, new = last.at_s, dict(zip(("new_traces", "new_rated", "new_pairs"), since(course, last.at_s, last.counted), strict=True))
    wait_s = max(0.0, thresholds.cooldown_s - (log_time_s - last_s))
    evidence = new | {"since": last_s, "counted": {str(width_s): list(counts) for width_s, counts in counted(course, log_time_s).items()}}

    def reading(trigger: str, value: float, threshold: float, seen: dict[str, Any] | None = None) -> Reading:
        return Reading(agent=agent, trigger=trigger, value=value, threshold=threshold, wait_s=wait_s, evidence=evidence | (seen or {}))

    counts = (("new traces", "new_traces", thresholds.traces), ("new ratings", "new_rated", thresholds.rated), ("new pairs", "new_pairs", thresholds.pairs))
    yield from (reading(trigger, new[name], threshold) for trigger, name, threshold in counts if threshold)
    if thresholds.drop:
        fallen = -changed_by(course, thresholds, last_s=last_s, log_time_s=log_time_s, among=among)
        yield reading("feedback drop", fallen, thresholds.drop, {"fallen_by": round(fallen, 6)})
    if thresholds.drift:
        moves = {name: changed_by(each, thresholds, last_s=last_s, log_time_s=log_time_s, among=len(classes)) for name, each in classes.items()}
        name = max(sorted(moves), key=lambda each: abs(moves[each]), default="")
        yield reading("drift", abs(moves.get(name, 0.0)), thresholds.drift, {"query_class": name, "changed_by": round(moves.get(name, 0.0), 6)})
    if thresholds.every_s:
        yield reading("time", log_time_s - last_s if new["new_traces"] else 0.0, thresholds.every_s)


def changed_by(course: Course, thresholds: Thresholds, *, last_s: float, log_time_s: float, among: int = 1) -> float:
    """By how much the mean score is now another than before it changed; 0 where no test confirms a change, or it was before the last cycle.

    What is now is what the hopping window holds of the time after the change: a fall that is made up for is none.

    Args:
        course: the scores by time.
        thresholds: the window, and the chance of a false alarm of all tests together.
        last_s: log time of the last cycle, epoch seconds.
        log_time_s: now.
        among: how many such tests there are.
    """
    changed_s = _tested(course, log_time_s, thresholds.false_alarm / max(among, 1))
    if changed_s is None or changed_s < last_s:
        return 0.0
    windows = tumbling(course, log_time_s)
    before = mean([span for span in windows if span.start_s < changed_s])
    now = mean([span for span in hopping(windows, thresholds.window_s, log_time_s) if span.start_s >= changed_s])
    return 0.0 if before is None or now is None else now - before


def prepare(watch: Watch, rules: Rules, *, log_time_s: float) -> Iterator[None]:
    """Make the tests of all classes that `readings` will ask for, and pause after each, for whoever shares a loop."""
    for course in watch.classes.values() if rules.everywhere.drift else ():
        _tested(course, log_time_s, rules.everywhere.false_alarm / len(watch.classes))
        yield


def _tested(course: Course, log_time_s: float, false_alarm: float) -> int | None:
    """Say since when the mean is what it is; tested once a minute, where anything is new."""
    key = (course.version, log_time_s // MINUTE_S, false_alarm)
    if course.tested is None or course.tested[0] != key:
        course.tested = key, changed_since(tumbling(course, log_time_s), false_alarm)
    return course.tested[1]
