"""Canaries of cycles: which candidates serve a small share of requests before they go live, and what is made of what those earn.

1. A candidate that its offline gate lets through, or that nothing evaluates, becomes a canary where the deployment has them. What it and what stands
   beside it earn from then on is all that counts.
2. At each look, what was archived since the last one is taken in the order in which its score came: no look changes what an earlier one saw, as a
   test that may be looked at any time asks for.
3. A verdict against it withdraws it at once. One for it hands it to the process that promotes, or to a person.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from stream.archive.blocks import Kind
from stream.archive.draws import decision_apart, draw_of
from stream.archive.reader import ArchivedTrace, ArchiveReader
from stream.cycles.account import Account
from stream.cycles.entries import Candidate
from stream.cycles.inbox import FROZEN
from stream.cycles.machine import Bench
from stream.cycles.promoting import outdated, tell
from stream.cycles.states import Standing
from stream.cycles.trials import name_of
from stream.learning.evolving import live
from stream.learning.evolving.document import settings_of
from stream.learning.gate import CanaryGate, Judgement
from stream.reading.reward import Reward, reward_function
from stream.records import Arm
from stream.routing.evidence import SOURCES

LOOK_S = 1.0
"""Between two looks."""
TELL_S = 15.0
"""Between two announcements of how far a canary has come."""
EFFECT = 0.05
"""Gain in reward by which is said how many rewards a canary needs."""
LEAST_VARIANCE = 0.01
MOST_WAITING = 50_000
"""Traces without a score that are remembered; beyond them the oldest are given up."""
MISSING = 5.0
"""Standard deviations by which a canary may have fewer traces than its share, before it is taken for one that does not answer."""
LEAST_MISSED = 20.0
"""Traces that must have been expected of it by then."""
TOUCHY = frozenset({"tools", "system_prompt", "prompt"})
"""Settings that change what an agent says and does, and not only how long it takes."""


class Seen(msgspec.Struct):
    """What was seen of a canary, and of what stands beside it.

    Attributes:
        cursor: number of the last record of the archive that was looked at.
        control: rewards of the other versions' requests in which the canary might have been drawn, in the order in which they came.
        canary: its own.
        waiting: traces that have no score yet; whether each is the canary's.
        traces: of both, control first.
        told_at: when it was told of last, epoch seconds.
    """

    cursor: int
    control: list[float] = []
    canary: list[float] = []
    waiting: dict[str, bool] = {}
    traces: tuple[int, int] = (0, 0)
    told_at: float = 0.0


def reason_against(bench: Bench, candidate: Candidate) -> str:
    """Say why a candidate goes live, or is held, without having been a canary; empty where it is to be one."""
    plan = bench.plan
    if plan.canary_share == 0.0 or candidate.kind != "config":
        return "canaries are not asked for"
    before, after = (settings_of(text, candidate.subject) for text in (live.read(plan.config_dir, candidate.subject), candidate.detail["toml"]))
    touched = sorted(key for key in TOUCHY if before.get(key) != after.get(key))
    return f"it changes {' and '.join(touched)}, but EDDY_CANARY_TOOLS is not set" if touched and not plan.canary_tools else ""


def begin(bench: Bench, candidate: Candidate) -> None:
    """Make a candidate a canary."""
    alpha, share = Account(bench, candidate).alpha(), bench.plan.canary_share
    needed = _gate(bench, alpha, share).needed(variance=0.25, effect=EFFECT)
    why = (
        f"a canary with {share:.1%} of {candidate.subject}'s requests: a gain of {EFFECT:.2f} takes up to {needed:,} of its rewards to see; {bench.plan.canary_rewards:,} are taken"
    )
    with ArchiveReader(bench.plan.archive) as reader:
        seen = Seen(cursor=reader.indexed)
    bench.ledger.move(candidate, Standing.CANARY, {"share": share, "error": alpha, "why": why}, marks=_mark(candidate, seen))


def look_at_all(bench: Bench) -> None:
    """Look at every canary."""
    for candidate in bench.ledger.standing(Standing.CANARY):
        look(bench, candidate)


def look(bench: Bench, candidate: Candidate) -> None:
    """Look at one canary, and end it where there is a verdict."""
    if why := outdated(bench, candidate):
        _end(bench, candidate, Standing.DISCARDED, {"why": why})
    elif frozen := bench.ledger.mark(FROZEN, ""):
        _end(bench, candidate, Standing.HELD, {"why": f"no canary runs, since {frozen}: `eddy cycles approve` promotes it all the same"})
    else:
        seen = msgspec.json.decode(bench.ledger.mark(_name(candidate), ""), type=Seen)
        if _take_new(bench, candidate, seen):
            _judge(bench, candidate, seen)


def _judge(bench: Bench, candidate: Candidate, seen: Seen) -> None:
    gate = _gate(bench, candidate.detail["error"], candidate.detail["share"])
    judged = gate.look(seen.control, seen.canary)
    if missing := _missing(seen, candidate.detail["share"]):
        _end(bench, candidate, Standing.DISCARDED, {"why": missing, "n": judged.n}, promoted=False)
    elif judged.verdict == "reject":
        _end(bench, candidate, Standing.DISCARDED, _detail(judged, f"as a canary: {judged.reason}"), promoted=False)
    elif judged.is_promotion:
        _end(bench, candidate, Standing.HELD, _detail(judged, f"as a canary: {judged.reason}"), promoted=True, word="approve" if bench.plan.promotion == "auto" else "")
    else:
        _go_on(bench, candidate, seen, judged, gate)


def _go_on(bench: Bench, candidate: Candidate, seen: Seen, judged: Judgement, gate: CanaryGate) -> None:
    now = bench.clock()
    is_told = now - seen.told_at >= TELL_S and judged.n > 0
    seen.told_at = now if is_told else seen.told_at
    bench.ledger.put_marks(_mark(candidate, seen))
    if is_told:
        needed = gate.needed(variance=max(_variance(seen.control), LEAST_VARIANCE), effect=EFFECT)
        said = f"{candidate.name}: {judged.n:,} rewards of the canary, of {needed:,} that it takes to see a gain of {EFFECT:.2f}; so far {judged.estimate:+.4f}"
        each = {"name": candidate.name, "standing": str(Standing.CANARY), "why": said, "n": judged.n, "needed": needed, "estimate": judged.estimate}
        bench.ledger.tell(candidate.cycle_id, "canary", {"said": said, "candidates": [each | {"interval": list(judged.interval or ())}]})


def _end(bench: Bench, candidate: Candidate, standing: Standing, detail: dict[str, Any], *, promoted: bool | None = None, word: str = "") -> None:
    """End a canary: what withdraws it is sent by the same transaction."""
    account = {} if promoted is None else Account(bench, candidate).marks(promoted=promoted)
    bench.ledger.move(candidate, standing, detail, marks=account | {_name(candidate): ""}, word=word)
    tell(bench, candidate, detail["why"])


def _gate(bench: Bench, alpha: float, share: float) -> CanaryGate:
    return CanaryGate(alpha=alpha, share=share, max_rewards=bench.plan.canary_rewards)


def _detail(judged: Judgement, why: str) -> dict[str, Any]:
    return judged.as_json() | {"why": why}


def _missing(seen: Seen, share: float) -> str:
    """Say that far fewer of a canary's requests come back than were drawn; empty where they do. An agent that breaks publishes nothing."""
    control, canary = seen.traces
    expected = share * (control + canary)
    if expected < LEAST_MISSED or canary > expected - MISSING * math.sqrt(expected):
        return ""
    return f"{canary:,} traces came back of about {expected:,.0f} requests that it must have been drawn for, so that what it serves does not come to an end: all would have kept it"


def _variance(rewards: list[float]) -> float:
    mean = math.fsum(rewards) / max(len(rewards), 1)
    return math.fsum((reward - mean) ** 2 for reward in rewards) / max(len(rewards), 1)


def _take_new(bench: Bench, candidate: Candidate, seen: Seen) -> bool:
    """Take what was archived since the last look; returns whether anything was."""
    with ArchiveReader(bench.plan.archive) as reader:
        until, trial = reader.indexed, name_of(candidate.detail["toml"])
        if until <= seen.cursor:
            return False
        fields, reward = bench.plan.routing.arm_fields, reward_function(bench.plan.spec.reward, bench.plan.spec.reward_without)
        for trace, score, is_canary in _drawn(reader, candidate.subject, trial, fields, reward, after_seq=seen.cursor):
            control, canary = seen.traces
            seen.traces = (control, canary + 1) if is_canary else (control + 1, canary)
            if score is None:
                seen.waiting[trace.entry.trace_id or ""] = is_canary
            else:
                (seen.canary if is_canary else seen.control).append(score)
        if seen.waiting:
            _take_ratings(reader, fields, reward, seen)
        seen.cursor = until
    while len(seen.waiting) > MOST_WAITING:
        del seen.waiting[next(iter(seen.waiting))]
    return True


def _drawn(reader: ArchiveReader, agent: str, trial: str, fields: tuple[str, ...], reward: Reward | None, *, after_seq: int) -> Iterator[tuple[ArchivedTrace, float | None, bool]]:
    """The requests of an agent in which its canary was drawn, or might have been: each with its score and whether it was."""
    for trace in reader.traces(agent=agent, after_seq=after_seq, newest_first=False):
        draw = draw_of(trace, decision_apart(reader, trace.entry), fields, reward)
        if draw is None:
            continue
        arm = Arm.parse(draw.arm)
        if arm.agent == agent and msgspec.structs.replace(arm, config_version=trial).id in draw.candidates:
            yield trace, _score(draw.scores), arm.config_version == trial


def _take_ratings(reader: ArchiveReader, fields: tuple[str, ...], reward: Reward | None, seen: Seen) -> None:
    """Take the scores that came since the last look for traces that had none."""
    for entry in reader.entries(after_seq=seen.cursor):
        name = entry.trace_id or ""
        if entry.kind is Kind.FEEDBACK and name in seen.waiting and (trace := reader.trace(name)) is not None:
            draw = draw_of(trace, decision_apart(reader, trace.entry), fields, reward)
            if draw is not None and (score := _score(draw.scores)) is not None:
                (seen.canary if seen.waiting.pop(name) else seen.control).append(score)


def _score(scores: Any) -> float | None:
    """The score of the best source that has one, in [0, 1]."""
    return next((min(max(scores[source], 0.0), 1.0) for source in SOURCES if source in scores), None)


def _name(candidate: Candidate) -> str:
    return f"canary/{candidate.id}"


def _mark(candidate: Candidate, seen: Seen) -> dict[str, str]:
    return {_name(candidate): msgspec.json.encode(seen).decode()}
