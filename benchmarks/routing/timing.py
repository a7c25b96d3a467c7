"""What `Router.select` takes on a router that knows its routes; no broker is asked."""

from __future__ import annotations

import random
import statistics
import time

import msgspec

from stream.client import Router
from stream.records import Arm, ArmRouting, RoutingUpdate
from stream.routing.contextual import ContextualModel
from stream.routing.features import DIMENSION
from stream.settings import Settings

CALLS, ARMS, CLASSES = 20_000, 6, 100
QUERY = "Write a python function that returns the number of words in a text which begin with a capital letter, and explain it."
QUERIES = (QUERY, "How many primes are below 100?", "What happens after something dies?")


def select_us_median(settings: Settings) -> float:
    """Microseconds of one call with its class given, in the median; the table policies all publish the same record."""
    router = Router(settings=settings, seed=1)
    names = [f"class-{number:04}" for number in range(CLASSES)]
    for name in names:
        router.snapshot.apply(name.encode(), msgspec.json.encode(_update(name)))
    return _median_us(router, names)


def _median_us(router: Router, names: list[str]) -> float:
    taken, now = [], time.perf_counter_ns
    for number in range(CALLS):
        began = now()
        router.select(QUERY, query_class=names[number % len(names)])
        taken.append(now() - began)
    return statistics.median(taken) / 1_000


def select_contextual_us_median(settings: Settings) -> float:
    """The same with `contextual`, where the router computes features and probabilities itself.

    Raises:
        RuntimeError: the router did not take the model, and would be timed without it.
    """
    router = Router(settings=settings, seed=1)
    names = [f"class-{number:04}" for number in range(CLASSES)]
    for name in names:
        router.snapshot.apply(name.encode(), msgspec.json.encode(_refinable(_update(name))))
    draw = random.Random(1).gauss
    weights = {f"model-{number}": tuple(draw(0.0, 0.02) for _ in range(DIMENSION + 1)) for number in range(ARMS)}
    parameters = ContextualModel(weights=weights, traces=1_000, trust=1.0).parameters((1, 1))
    router.snapshot.apply(parameters.key.encode(), msgspec.json.encode(parameters))
    if len({router.select(query, query_class=names[0]).propensity for query in QUERIES for _ in range(50)}) <= ARMS:
        raise RuntimeError(f"the router drew {len(QUERIES)} queries from the same probabilities, but a contextual one tells them apart; see what it makes of the model")
    return _median_us(router, names)


def _refinable(update: RoutingUpdate) -> RoutingUpdate:
    arms = tuple(msgspec.structs.replace(arm, score=0.5 + 0.02 * number, level=0.5 + 0.02 * number, deviation=0.05, floor=0.01) for number, arm in enumerate(update.arms))
    return msgspec.structs.replace(update, policy="contextual", arms=arms, sampler="maillard")


def _update(query_class: str) -> RoutingUpdate:
    return RoutingUpdate(
        query_class=query_class, fold="bench", policy="thompson", version=(1, 1), log_time_ms=0, exploration_share=0.05, interval_method="none", alpha=0.05, best_arm=None,
        reason="a benchmark", arms=tuple(_arm(number) for number in range(ARMS)),
    )  # fmt: skip


def _arm(number: int) -> ArmRouting:
    arm = Arm(model=f"model-{number}")
    return ArmRouting(
        id=arm.id, arm=arm, probability=1 / ARMS, mean=0.5, interval=(0.4, 0.6), effective_count=10.0, rated_count=10, count=10, cost_usd=0.01, latency_s=1.0, state="active"
    )
