"""Draws as columns: what a log says of requests whose arm was drawn, and what a target policy would have drawn there.

This module needs NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream.routing.calibration import IDENTITY, Moments, fit
from stream.routing.off_policy_bounds import Floats

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


HUMAN = "human"
"""The source whose scale the others are read on."""


class LoggedDraw(NamedTuple):
    """One request whose arm was drawn.

    Attributes:
        query_class: it was drawn for.
        arm: id of the arm that was drawn, and served.
        propensity: with which it was drawn, in (0, 1].
        candidates: ids of what the draw was among; empty where the log does not say: then whatever was ever drawn.
        scores: what each source says that it earned, in [0, 1], the one that counts first; none where nobody rated it.
        cost_usd: None where it is unknown.
        latency_s: None where it is unknown.
    """

    query_class: str
    arm: str
    propensity: float
    candidates: tuple[str, ...] = ()
    scores: Mapping[str, float] = MappingProxyType({})
    cost_usd: float | None = None
    latency_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Draws in the order of the log, one column each; quantities are NaN where they are unknown.

    Shapes:
        all columns: (n,); `group` and `arm` are places in `groups` and `arms`.
    """

    groups: tuple[str, ...]
    arms: tuple[str, ...]
    group: Ints
    arm: Ints
    propensity: Floats
    reward: Floats
    cost_usd: Floats
    latency_s: Floats

    def where(self, kept: Bools) -> Draws:
        """Only some of the draws."""
        columns = ("group", "arm", "propensity", "reward", "cost_usd", "latency_s")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a policy would have drawn.

    Attributes:
        shares: shape (rows, arms); each row sums to 1 over what the log could have drawn, or is 0 where that is nothing.
        supported: shape (rows,): the part of the policy's own probabilities that lies there, in [0, 1].
        row: shape (n,): the row of each draw.
    """

    shares: Floats
    supported: Floats
    row: Ints

    def where(self, kept: Bools) -> Target:
        """On some of the draws only."""
        return replace(self, row=self.row[kept])


class Columns:
    """Collects draws with what a target would have done there; equal rows are kept once.

    Args:
        calibrates: whether the other sources' scores are read on people's scale, learned from the draws that both have scored.
    """

    def __init__(self, *, calibrates: bool = False) -> None:
        self._calibrates = calibrates
        self._sources: dict[str, int] = {}
        self._scored: list[tuple[int, float]] = []
        self._moments: dict[str, list[float]] = {}
        self._groups: dict[str, int] = {}
        self._arms: dict[str, int] = {}
        self._rows: dict[tuple[tuple[tuple[str, float], ...], tuple[str, ...]], int] = {}
        self._columns: list[tuple[int, int, int, float, float, float]] = []

    def __len__(self) -> int:
        return len(self._columns)

    def add(self, draw: LoggedDraw, probabilities: Mapping[str, float]) -> None:
        """Take one draw.

        Args:
            draw: of the log.
            probabilities: the target's at that moment, by arm id; they sum to 1.
        """
        for arm_id in (draw.arm, *draw.candidates, *probabilities):
            self._arms.setdefault(arm_id, len(self._arms))
        group = self._groups.setdefault(draw.query_class, len(self._groups))
        row = self._rows.setdefault((tuple(probabilities.items()), draw.candidates), len(self._rows))
        cost_usd, latency_s = (math.nan if value is None else value for value in (draw.cost_usd, draw.latency_s))
        self._columns.append((group, self._arms[draw.arm], row, draw.propensity, cost_usd, latency_s))
        self._score(draw.scores)

    def _score(self, scores: Mapping[str, float]) -> None:
        source, score = next(iter(scores.items()), ("", math.nan))
        self._scored.append((self._sources.setdefault(source, len(self._sources)), score))
        for other, said in scores.items():
            if source == HUMAN and other != HUMAN:
                sums = self._moments.setdefault(other, [0.0] * 5)
                for place, amount in enumerate((1.0, score, said, score * said, said * said)):
                    sums[place] += amount

    def _rewards(self) -> Floats:
        """The score of each draw, on people's scale where that is asked for."""
        lines = {source: fit(Moments(*sums)) for source, sums in self._moments.items()} if self._calibrates else {}
        level, slope = (np.array([getattr(lines.get(source, IDENTITY), name) for source in self._sources]) for name in ("level", "slope"))
        source, score = (np.array(column) for column in zip(*self._scored, strict=True)) if self._scored else (np.zeros(0, np.int64), np.zeros(0))
        return np.asarray(level[source] + slope[source] * score if len(source) else score)

    def draws(self) -> Draws:
        """All that was collected."""
        table = np.array(self._columns, dtype=np.float64).reshape(-1, 6)
        group, arm = (table[:, place].astype(np.int64) for place in (0, 1))
        columns = dict(zip(("propensity", "cost_usd", "latency_s"), table[:, 3:].T, strict=True))
        return Draws(groups=tuple(self._groups), arms=tuple(self._arms), group=group, arm=arm, reward=self._rewards(), **columns)

    def target(self) -> Target:
        """What the target would have drawn there."""
        shares, drawn = np.zeros((len(self._rows), len(self._arms))), {column[1] for column in self._columns}
        for (probabilities, candidates), row in self._rows.items():
            possible = {self._arms[name] for name in candidates} or drawn
            for name, probability in probabilities:
                shares[row, self._arms[name]] = probability if self._arms[name] in possible else 0.0
        supported = np.minimum(np.sum(shares, axis=1), 1.0)
        within = np.divide(shares, np.sum(shares, axis=1, keepdims=True), out=np.zeros_like(shares), where=supported[:, None] > 0)
        return Target(shares=within, supported=supported, row=np.array([column[2] for column in self._columns], dtype=np.int64))


def only(arm_id: str) -> dict[str, float]:
    """The target that always draws one arm."""
    return {arm_id: 1.0}
