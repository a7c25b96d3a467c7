"""Our own players: the real policy code (evidence, pooling, drift, ceilings, decisions, contextual model), without Kafka."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, repeat

import numpy as np

from benchmarks.routing.players import Maker, Player
from stream.archive.fitting import Remembered, means_of
from stream.fold.totals import MICRO, Sum, identity
from stream.records import Arm, RoutingUpdate
from stream.routing.book import Book
from stream.routing.contextual import ContextualModel
from stream.routing.contextual_fit import fit
from stream.routing.decision import decide
from stream.routing.epsilon_greedy import smoothed_mean
from stream.routing.features import DIMENSION, features
from stream.routing.overrides import Overrides
from stream.routing.refinement import Basis, chance, log_odds_of
from stream.routing.settings import RoutingSettings
from stream.routing.treasury import Treasury

REQUEST_S = 6
"""Between two requests, in log time: ten a minute."""
FIT_EVERY = 25
"""Requests after which the contextual model is fitted anew; a learner does so every few seconds."""
TOLD = 5
"""Other classes decided anew when a price has moved, those first that have waited longest; a desk decides all of them."""
START_S = 1_700_000_000 // 60 * 60

described = lru_cache(maxsize=None)(lambda query: tuple(features(query)))
"""Features are cached over the seeds."""


class Ours:
    """A player that is the loop in one process.

    Args:
        arms: their names.
        policy: of the registry.
        models: whether the contextual model is used.
        max_cost_usd: ceiling, or None.
        max_latency_s: ceiling, or None.
        seed: of the draws.
    """

    def __init__(self, arms: Sequence[str], *, policy: str, models: bool, max_cost_usd: float | None, max_latency_s: float | None, seed: int) -> None:
        self._arms = [Arm(model=name) for name in arms]
        self._places = {arm.id: place for place, arm in enumerate(self._arms)}
        self._settings = RoutingSettings(declared=tuple(self._arms), policy=policy, max_cost_usd=max_cost_usd, max_latency_s=max_latency_s)
        self._book = Book(self._settings, "")
        self._overrides = Overrides(self._settings.arm_fields)
        self._random = random.Random(seed).random
        self._models, self._model = models, ContextualModel()
        self._seen: list[tuple[str, str, float]] = []
        self._x = np.empty((1024, DIMENSION))
        self._now_s = START_S
        self._treasury = Treasury(self._settings, self._book, {}, interval_s=0.0)
        self._heard_of: dict[str, None] = {}
        """Classes, those that were decided last at the end."""
        self._last: tuple[str, str, str] = ("", "", "")
        self._ranked: dict[str, dict[str, float]] = {}

    def add_arm(self, name: str) -> None:
        """Declare another arm."""
        self._arms.append(Arm(model=name))
        self._places[self._arms[-1].id] = len(self._arms) - 1
        self._settings = RoutingSettings(
            declared=tuple(self._arms), policy=self._settings.policy, max_cost_usd=self._settings.max_cost_usd, max_latency_s=self._settings.max_latency_s
        )
        self._book.use(self._settings)

    def choose(self, query: str, query_class: str) -> tuple[int, float]:
        """Draw an arm: its place, and its propensity."""
        update = self._decide(query_class)
        ids, shares = self._shares(update, query)
        cumulative = list(accumulate(shares))
        at = min(bisect_right(cumulative, self._random() * cumulative[-1]), len(ids) - 1)
        self._last = (query, query_class, ids[at])
        return self._places[ids[at]], shares[at] / cumulative[-1]

    def _decide(self, query_class: str) -> RoutingUpdate:
        """Decide as a desk has between two requests: the class, and while prices move, some of the others and it again."""
        self._heard_of[query_class] = None
        update = self._decided(query_class)
        while self._treasury.look(self._now_s):
            others = [name for name in self._heard_of if name != query_class][:TOLD]
            for name in others:
                self._heard_of.pop(name)
                self._heard_of[name] = None
                self._decided(name)
            update = self._decided(query_class)
        return update

    def _decided(self, query_class: str) -> RoutingUpdate:
        evidence = self._book.evidence(query_class)
        update = decide(evidence, settings=self._settings, overrides=self._overrides, prices=self._treasury.of(query_class))
        self._treasury.expect(evidence, update, self._model)
        return update

    def _shares(self, update: RoutingUpdate, query: str) -> tuple[list[str], list[float]]:
        ids = [arm.id for arm in update.arms]
        if not self._model.weights or any(arm.score is None for arm in update.arms):
            return ids, [arm.probability for arm in update.arms]
        return ids, Basis.of(update).among(ids).shares(self._model.advantages(described(query)))

    def learn(self, reward: float, cost_usd: float | None, latency_s: float | None) -> None:
        """Take the outcome of the last choice."""
        query, query_class, arm_id = self._last
        sums, micro = identity(), round(reward * MICRO)
        sums[Sum.COUNT] = sums[Sum.HUMAN] = 1
        sums[Sum.HUMAN_MICRO], sums[Sum.HUMAN_MICRO_SQ] = micro, micro * micro
        if cost_usd:
            sums[Sum.COST_KNOWN], sums[Sum.COST_NANO_USD] = 1, round(cost_usd * 1e9)
        if latency_s:
            sums[Sum.LATENCY_KNOWN], sums[Sum.LATENCY_MS] = 1, round(latency_s * 1e3)
        self._now_s += REQUEST_S
        row = (60, self._now_s // 60 * 60, 1, *sums)
        self._book.add(query_class, [(arm_id, self._arms[self._places[arm_id]], (), (row,))], self._now_s * 1000)
        if self._models:
            self._x = self._x if len(self._seen) < len(self._x) else np.concatenate([self._x, np.empty_like(self._x)])
            self._x[len(self._seen)] = described(query)
        self._seen.append((query_class, arm_id, reward))
        self._ranked.clear()
        self._treasury.take_note(query_class)
        if self._models and len(self._seen) % FIT_EVERY == 0:
            self._fit()

    def _fit(self) -> None:
        seen = [Remembered(query_class, arm_id, reward, 0, ()) for query_class, arm_id, reward in self._seen]
        means = means_of(seen, repeat(1.0, len(seen)), self._settings.pooled_cap)
        x = self._x[: len(self._seen)]
        rewards = np.array([reward for *_, reward in self._seen])
        levels = np.array([means[query_class, arm_id] for query_class, arm_id, _ in self._seen])
        self._model = fit(x, [arm_id for _, arm_id, _ in self._seen], rewards, levels, np.ones(len(rewards)))

    def _means(self, classes: set[str]) -> dict[str, dict[str, float]]:
        found = {}
        for query_class in classes:
            found[query_class] = {arm.id: smoothed_mean(arm) for arm in self._book.evidence(query_class).arms}
        return found

    def gap(self, query: str, query_class: str) -> float:
        """How much better the first arm is than the second, for a query."""
        if query_class not in self._ranked:
            self._ranked |= self._means({query_class})
        first, second = (self._arms[place].id for place in (0, 1))
        means = self._ranked[query_class]
        advantages = self._model.advantages(described(query)) if self._models else {}
        return chance(log_odds_of(means[first]) + advantages.get(first, 0.0)) - chance(log_odds_of(means[second]) + advantages.get(second, 0.0))


def _maker(policy: str, *, models: bool) -> Maker:
    def make(arms: Sequence[str], *, max_cost_usd: float | None, max_latency_s: float | None, seed: int) -> Player:
        return Ours(arms, policy=policy, models=models, max_cost_usd=max_cost_usd, max_latency_s=max_latency_s, seed=seed)

    return make


thompson = _maker("thompson", models=False)
contextual = _maker("contextual", models=True)
inverse_gap = _maker("contextual", models=False)
