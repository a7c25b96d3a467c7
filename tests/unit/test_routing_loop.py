"""The whole of routing in a loop: drawing from what the desk publishes must earn more than drawing at random."""

from __future__ import annotations

import random

from stream.records import Arm, PartitionStatistics, RoutingUpdate
from tests.unit.routing_support import by_class, desk, row, statistics

CHANCES = {"code": {"a": 0.8, "b": 0.5, "c": 0.2}, "math": {"a": 0.3, "b": 0.7, "c": 0.4}, "rare": {"a": 0.6, "b": 0.6, "c": 0.6}}
"""Chance of success of every arm in every class. Uniform choice earns (1.5 + 1.4 + 1.8) / 9 = .52, the best (.8 + .7 + .6) / 3 = .70."""


def totals(scores: dict[str, list[float]], query_class: str, offset: int) -> PartitionStatistics:
    return statistics({arm_id: [row(*given)] for arm_id, given in scores.items() if given}, query_class=query_class, offset=offset)


def test_a_loop_that_draws_from_the_desk_beats_chance() -> None:
    """600 requests, .52 at random, .70 at best.

    The mean of 600 scores has a standard deviation of .02; half of the possible gain, .61, is 4.5 of them above chance. Seeded.
    """
    rng, earned = random.Random(3), []
    routing = desk(declared=tuple(Arm(model=name) for name in "abc"))
    scores: dict[str, dict[str, list[float]]] = {name: {arm_id: [] for arm_id in "abc"} for name in CHANCES}
    published: dict[str, RoutingUpdate] = {}
    for request in range(600):
        published |= by_class(routing.due(float(request)))
        query_class = rng.choice(list(CHANCES))
        update = published.get(query_class) or published["*"]
        arm_id = rng.choices([arm.id for arm in update.arms], [arm.probability for arm in update.arms])[0]
        earned.append(float(rng.random() < CHANCES[query_class][arm_id]))
        scores[query_class][arm_id].append(earned[-1])
        routing.learn(totals(scores[query_class], query_class, request))

    assert sum(earned) / len(earned) > 0.61
    assert published["math"].best_arm in ("b", None)
    assert max(published["math"].arms, key=lambda arm: arm.probability).id == "b"
