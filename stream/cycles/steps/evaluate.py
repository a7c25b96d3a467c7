"""Step 7: every candidate has its verdict, each by a gate of its own, with an error that all cycles together keep to.

A verdict and the error that it has used are written in one transaction: after a crash a candidate is judged once, or not yet.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from stream.cycles.account import Account
from stream.cycles.canaries import reason_against
from stream.cycles.entries import Candidate, Cycle
from stream.cycles.machine import Bench, Done
from stream.cycles.promoting import outdated, told
from stream.cycles.states import Standing, State
from stream.cycles.steps.measure import baseline_of, evaluated
from stream.learning.evaluators import load
from stream.learning.evolving import live
from stream.learning.gate import Judgement, Scores, Verdict, judge

LEAST_FREEDOM = 30.0
"""Degrees of freedom of a policy's error: with fewer a failure that was not yet drawn could turn it, and errors of a thousandth are not held."""
CAN_NOT_TELL = "the held-out draws cannot tell: {}"


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Why a candidate has no verdict.

    Attributes:
        why: one sentence.
        is_held: whether a person may promote it all the same; else it is discarded.
        is_tried: whether it goes on to be a canary.
    """

    why: str
    is_held: bool = False
    is_tried: bool = False

    @property
    def standing(self) -> Standing:
        """What becomes of the candidate."""
        return Standing.ACCEPTED if self.is_tried else Standing.HELD if self.is_held else Standing.DISCARDED


def evaluate(bench: Bench, cycle: Cycle) -> Done:
    """Judge every candidate that is not judged yet."""
    for candidate in bench.ledger.candidates(cycle.cycle_id):
        if candidate.standing is Standing.STAGED:
            _judge(bench, cycle, candidate)
    candidates = bench.ledger.candidates(cycle.cycle_id)
    counts = Counter(str(candidate.detail.get("verdict", "not judged")) for candidate in candidates)
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "there is no candidate to judge"
    return Done(State.EVALUATED, said, {"candidates": [told(each) for each in candidates]})


def _judge(bench: Bench, cycle: Cycle, candidate: Candidate) -> None:
    account = Account(bench, candidate)
    found = _JUDGES[candidate.kind](bench, cycle, candidate, account)
    if isinstance(found, Unjudged):
        bench.ledger.move(candidate, found.standing, {"why": found.why})
        return
    target, marks = Standing.ACCEPTED if found.is_promotion else Standing.DISCARDED, account.marks(promoted=found.is_promotion)
    bench.ledger.move(candidate, target, found.as_json() | {"why": found.reason}, marks=marks)


def _config(bench: Bench, cycle: Cycle, candidate: Candidate, account: Account) -> Judgement | Unjudged:
    if why := outdated(bench, candidate):
        return Unjudged(why)
    against = reason_against(bench, candidate)
    if not bench.plan.evaluator and not against:
        return Unjudged("nothing evaluates configurations, so that its canary alone judges it", is_tried=True)
    if not bench.plan.evaluator:
        return Unjudged("nothing evaluates configurations, so that it is not promoted: set EDDY_EVALUATOR, or `eddy cycles approve` promotes it", is_held=True)
    if not load(bench.plan.evaluator).sees_folder:
        return Unjudged("the evaluator takes no folder, so that it can score only what is live: `eddy cycles approve` promotes it unjudged", is_held=True)
    folder = live.copy_with(bench.plan.config_dir, bench.plan.folder(cycle.cycle_id) / "evaluated", {candidate.subject: candidate.detail["toml"]})
    try:
        scores = evaluated(bench.plan, folder)
    except Exception as exc:  # whatever a user's evaluator raises says that this candidate cannot be let through, and nothing of the others
        return Unjudged(f"its evaluation failed: {type(exc).__name__}: {exc}")
    return _judgement(bench, baseline_of(bench, cycle), scores, account if against else None)


def _routing(bench: Bench, cycle: Cycle, candidate: Candidate, account: Account) -> Judgement | Unjudged:
    """Judge a policy by the draws of held-out queries: once, so that an interval of a fixed number of them serves."""
    from stream.cycles.policies import value_of

    until, alpha = bench.ledger.kept(cycle.cycle_id, State.MINED)["until"], account.alpha()
    said = value_of(bench.plan, candidate.subject, "test", alpha=2 * alpha, until=until)
    if said.doubts or said.reward.difference is None:
        return Unjudged(CAN_NOT_TELL.format("; ".join(said.doubts) or "none of them was rated"))
    if said.reward.freedom < LEAST_FREEDOM:
        return Unjudged(CAN_NOT_TELL.format(f"few draws of great weight decide, worth {said.reward.freedom:.0f} in the error, but it takes {LEAST_FREEDOM:.0f}"))
    gain, (low, high) = said.reward.difference.value, said.reward.difference.interval
    verdict: Verdict = "promote" if low > 0 else "reject"
    reason = (
        f"on {said.reward.draws:,} held-out draws it would have earned {gain:+.4f} a request, in [{low:+.4f}, {high:+.4f}] (one-sided error {alpha:.2g}); "
        f"a lower bound {'at or below' if low > 0 else 'above'} 0 would have {'kept it out' if low > 0 else 'let it through'}"
    )
    return Judgement(verdict=verdict, reason=reason, estimate=gain, interval=(low, high), n=said.reward.draws, e_value=None, alpha=alpha)


def _adapter(bench: Bench, cycle: Cycle, candidate: Candidate, account: Account) -> Judgement | Unjudged:
    """Judge an adapter by how it and its base model answered held-out questions; a lower loss alone lets nothing through."""
    answers: dict[str, Any] = candidate.detail.get("answers") or {}
    if not answers.get("baseline") or not answers.get("candidate"):
        return Unjudged("its job scored no answers to held-out questions, and a lower loss alone promotes nothing: `eddy cycles approve` promotes it", is_held=True)
    return _judgement(bench, Scores(answers["baseline"]), Scores(answers["candidate"]), account)


def _judgement(bench: Bench, baseline: Scores, candidate: Scores, account: Account | None) -> Judgement:
    """Weigh two evaluations; where they give one number each no error is set aside, since none is held, and none where a canary's gate comes after."""
    alpha = account.alpha() if candidate.by_id and account is not None else bench.plan.level
    return judge(baseline, candidate, alpha=alpha, max_pairs=bench.plan.max_pairs, least_gain=bench.plan.min_improvement)


_JUDGES = {"config": _config, "routing": _routing, "adapter": _adapter}
