"""Explanations: why a class is routed as it is, in plain sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stream.records import ANY_CLASS, ArmRouting, Override, RoutingUpdate
from stream.routing.decision import FROZEN, PINNED, WITHDRAWN
from stream.routing.evidence import SOURCES, ArmEvidence, ClassEvidence, Tally
from stream.routing.exploration import is_overdrawn
from stream.routing.overrides import Overrides
from stream.routing.settings import RoutingSettings
from stream.routing.stopping import log_odds

VERBS = {"pin": "pinned", "freeze": "frozen", "withdraw": "withdrawn", "rollout": "limited the rollout", "policy": "changed the policy"}
MOST_ARMS = 20
"""Arms that an explanation names one by one; the rest are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a class is routed as it is.

    Attributes:
        update: the decision, as it is or would be published.
        evidence: what it stands on.
        overrides: which operator's words hold, one sentence each.
        would_change: what would change it, one sentence each.
        text: all of it, in plain sentences, one a line.
    """

    update: RoutingUpdate
    evidence: ClassEvidence
    overrides: tuple[str, ...] = ()
    would_change: tuple[str, ...] = ()
    text: str = ""


def explain(update: RoutingUpdate, evidence: ClassEvidence, *, settings: RoutingSettings, overrides: Overrides) -> Explanation:
    """Explain a decision from the evidence that it was made from."""
    settings = overrides.with_policy(settings, update.query_class)
    words = tuple(_override_sentence(word) for word in overrides.standing(update.query_class))
    changes = (*_lifting(words), *_would_change(update, evidence, settings))
    sources = tuple(sentence for arm in evidence.arms[:MOST_ARMS] if (sentence := _evidence_sentence(arm)))
    lines = (*_sentences(update), *sources, *_scale_sentences(evidence), *_delay(settings), *_overdrawn(evidence, settings), *words, *changes)
    return Explanation(update=update, evidence=evidence, overrides=words, would_change=changes, text="\n".join(lines))


def explain_update(update: RoutingUpdate) -> str:
    """Say why a class is routed as it is, from the published update alone; one sentence a line."""
    return "\n".join(_sentences(update))


def _sentences(update: RoutingUpdate) -> list[str]:
    ranked = sorted(update.arms, key=lambda arm: (-arm.probability, arm.id))
    more = [f"{len(ranked) - MOST_ARMS} more arms have smaller shares."] if len(ranked) > MOST_ARMS else []
    return [_headline(update), *(_arm_sentence(arm) for arm in ranked[:MOST_ARMS]), *more, _proof(update)]


def _headline(update: RoutingUpdate) -> str:
    name = "Any class without evidence of its own" if update.query_class == ANY_CLASS else f"Class {update.query_class}"
    decided = {PINNED: "an operator's pin", FROZEN: "an operator's freeze", WITHDRAWN: "an operator's withdrawals"}
    by = decided.get(update.policy, f"policy {update.policy}")
    explored = f", of which {update.exploration_share:.1%} of the draws explore" if update.exploration_share else ""
    return f"{name} is decided by {by}{explored}: {update.reason}."


def _arm_sentence(arm: ArmRouting) -> str:
    state = {"withdrawn": ", withdrawn", "exploring": ", still to be explored"}.get(arm.state, "")
    waiting = f", {arm.unresolved} decisions still without a trace" if arm.unresolved else ""
    return f"{arm.id} gets {arm.probability:.1%} of the draws{state}: {_mean(arm)}, {_costs(arm)}{waiting}."


def _mean(arm: ArmRouting) -> str:
    traces = f"{arm.count} traces, {arm.rated_count} scored"
    if arm.mean is None:
        return f"{traces}, so that its mean is unknown"
    bounds = f" in [{arm.interval[0]:.3f}, {arm.interval[1]:.3f}]" if arm.interval else ""
    return f"{traces}, mean {arm.mean:.3f}{bounds} over {arm.effective_count:.1f} when weighted by age{_worst_case(arm)}"


def _worst_case(arm: ArmRouting) -> str:
    """What the traces without a score could make of the mean."""
    if arm.worst_case is None or arm.rated_count >= arm.count:
        return ""
    low, high = arm.worst_case
    return f" (of all its traces from {low:.3f} to {high:.3f}, by what those without a score were)"


def _costs(arm: ArmRouting) -> str:
    cost = "cost unknown" if arm.cost_usd is None else f"${arm.cost_usd:.6g} each"
    latency = "latency unknown" if arm.latency_s is None else f"{arm.latency_s:.3g} s each"
    return f"{cost}, {latency}"


def _proof(update: RoutingUpdate) -> str:
    sure = f"{1 - update.alpha:.1%}"
    if update.best_arm is None:
        return f"No best arm is named: that takes draws that prove it better than every other, at whatever moment one looks, with {sure}."
    return f"Best arm is {update.best_arm}: its draws prove it better than every other, at whatever moment one looks, with {sure}."


def _evidence_sentence(arm: ArmEvidence) -> str:
    """Where an arm's scores come from."""
    if not arm.count:
        return ""
    by = ", ".join(f"{count} by {source}" for source, count in zip(SOURCES, arm.by_source, strict=False) if count) or "none scored"
    undrawn = arm.count - arm.drawn_count
    capped = f"; those not drawn weigh at most {arm.confounded_cap:g} traces together" if undrawn else ""
    return f"Of {arm.id}'s {arm.count} traces, {arm.drawn_count} were drawn by a router and {undrawn} were not{capped}; scores: {by}."


def _scale_sentences(evidence: ClassEvidence) -> tuple[str, ...]:
    """How scores are read that mean something else than a person's."""
    named = zip(SOURCES, [line for _, line in evidence.scales], strict=False)
    return tuple(
        f"A score s by {source} is read as {line.level:.3f} + {line.slope:.3f} s, as people's scores of the same traces suggest."
        for source, line in named
        if not line.is_identity
    )


def _delay(settings: RoutingSettings) -> tuple[str, ...]:
    """Which scores do not count yet."""
    if not settings.rating_delay_s:
        return ()
    return (f"Scores of traces younger than {settings.rating_delay_s:g} s count for no arm yet, so that all are judged at one age; traces, costs and latencies count at once.",)


def _overdrawn(evidence: ClassEvidence, settings: RoutingSettings) -> tuple[str, ...]:
    """Which arms are not explored, since too little comes back of them."""
    names = [f"{arm.id} ({arm.unresolved})" for arm in evidence.arms if is_overdrawn(arm, evidence, settings)]
    more = f" and {len(names) - MOST_ARMS} more" if len(names) > MOST_ARMS else ""
    said = f"No exploring draws while more than {settings.max_unresolved} decisions wait for their trace: {', '.join(names[:MOST_ARMS])}{more}."
    return (said,) if names else ()


def _override_sentence(word: Override) -> str:
    whom = "every class" if word.query_class == ANY_CLASS else f"class {word.query_class}"
    arm = f" ({word.arm.id})" if word.arm else f" to {word.share:.1%} of the requests" if word.share is not None else ""
    reason = f", because: {word.reason}" if word.reason else ""
    return f"An operator has {VERBS[word.kind]}{arm} for {whom}{reason}."


def _lifting(words: tuple[str, ...]) -> tuple[str, ...]:
    return ("Lifting an operator's word would let the evidence decide there again.",) if words else ()


def _would_change(update: RoutingUpdate, evidence: ClassEvidence, settings: RoutingSettings) -> tuple[str, ...]:
    if update.policy != settings.policy:
        return ()
    short = settings.min_evidence - evidence.rated_count
    warm = (f"{short} more scored traces would let the evidence lead.",) if short > 0 else ()
    return (*warm, *_unexplored(update, settings), *_rival(update, settings))


def _unexplored(update: RoutingUpdate, settings: RoutingSettings) -> tuple[str, ...]:
    names = [f"{arm.id} ({settings.min_evidence - arm.rated_count})" for arm in update.arms if arm.state == "exploring"]
    more = f" and {len(names) - MOST_ARMS} more" if len(names) > MOST_ARMS else ""
    return (f"Scored traces still wanted before an arm counts as explored: {', '.join(names[:MOST_ARMS])}{more}.",) if names else ()


def _rival(update: RoutingUpdate, settings: RoutingSettings) -> tuple[str, ...]:
    """What the runner-up lacks."""
    means = {arm.id: arm.mean for arm in update.arms if arm.mean is not None and arm.state != "withdrawn"}
    ranked = sorted(means, key=lambda arm_id: (-means[arm_id], arm_id))
    if len(ranked) < 2:
        return ()
    leader, rival = ranked[:2]
    wanted = f"{rival} would lead if its mean rose from {means[rival]:.3f} above {leader}'s {means[leader]:.3f}."
    return (wanted, *_proof_wanted(update, leader, rival))


def _proof_wanted(update: RoutingUpdate, leader: str, rival: str) -> tuple[str, ...]:
    """About how many more draws of each would prove the leader better, if the means stayed as they are."""
    if update.best_arm:
        return ()
    means, needed = {arm.id: arm.mean or 0.0 for arm in update.arms}, math.log(len(update.arms) / update.alpha)
    for doublings in range(24):
        draws = 2.0**doublings
        if log_odds(Tally(draws, draws * means[leader]), Tally(draws, draws * means[rival])) >= needed:
            return (f"About {draws:.0f} scored draws of {leader} and of {rival} with these means would prove the better one.",)
    return (f"{leader} and {rival} are too close to be told apart.",)
