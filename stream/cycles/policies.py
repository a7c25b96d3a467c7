"""What another routing policy would have earned on the archive's newest draws of one split."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from stream.archive.draws import Silence, read_draws
from stream.archive.hindsight import Hindsight
from stream.archive.reader import ArchivedTrace, ArchiveReader
from stream.cycles.plan import Plan
from stream.learning.splits import split_of
from stream.reading.query_class import classifier
from stream.reading.reward import reward_function
from stream.routing.off_policy import Evaluation, evaluate
from stream.routing.off_policy_draws import Columns

NEWEST = 20_000
"""Records that are looked at: at some 50 µs each and policy, one second."""
TRIED = ("thompson", "ucb", "epsilon_greedy", "learned")
"""Policies that may take the place of another: those that follow the evidence. The contextual one needs a model fitted beside it, the others learn nothing."""


class _Asked(msgspec.Struct):
    query: str = ""
    session_id: str = ""


_decode = msgspec.json.Decoder(_Asked).decode


def value_of(plan: Plan, policy: str, split: str, *, alpha: float, until: int) -> Evaluation:
    """Estimate what a policy would have earned, from the draws of a split.

    It decides by all that stood in the log before each request, as it would have had to.

    Args:
        plan: of the deployment.
        policy: a name of the registry.
        split: `tune` or `test`.
        alpha: chance, in (0, 1), that an interval misses.
        until: number of the last record that counts.
    """
    routing = replace(plan.routing, policy=policy)
    columns, reward = Columns(calibrates=not routing.tenants_apart), reward_function(plan.spec.reward, plan.spec.reward_without)
    hindsight = Hindsight(routing, plan.spec, classifier(plan.classifier))
    silence = Silence(deadline_s=plan.spec.silence_s, source="reward" if reward else "outcome", apart=routing.tenants_apart) if plan.spec.silence == "failure" else None

    def wanted(trace: ArchivedTrace) -> bool:
        return trace.entry.seq <= until and is_in(trace, split)

    with ArchiveReader(plan.archive) as reader:
        since_ms = reader.time_at(max(1, until - NEWEST))
        for draw in read_draws(reader, fields=routing.arm_fields, since_ms=since_ms, before=hindsight.take, reward=reward, silence=silence, wanted=wanted):
            if draw is not None:
                columns.add(draw, hindsight.probabilities(draw.query_class))
    return evaluate(columns.draws(), columns.target(), alpha=alpha)


def is_in(trace: ArchivedTrace, split: str) -> bool:
    """Whether a trace's query, or session, is one of a split."""
    try:
        asked = _decode(trace.entry.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return split_of(asked.query, asked.session_id) == split
