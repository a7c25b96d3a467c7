"""Complete matrices of recorded outcomes: what every arm did on every query."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Outcomes of every arm on every query.

    Attributes:
        queries: their texts, of length Q.
        groups: what the source says each is of: its subject, or the benchmark it is taken from.
        arms: names, of length K.
        reward: in [0, 1]. Shape [Q, K].
        cost_usd: dollars a request, NaN where it is not recorded. Shape [Q, K].
        latency_s: seconds, NaN where it is not recorded. Shape [Q, K].
    """

    queries: tuple[str, ...]
    groups: tuple[str, ...]
    arms: tuple[str, ...]
    reward: Array
    cost_usd: Array
    latency_s: Array

    def of_arms(self, arms: Sequence[int]) -> Matrix:
        """The same queries with some of the arms."""
        kept = list(arms)
        return Matrix(
            queries=self.queries,
            groups=self.groups,
            arms=tuple(self.arms[arm] for arm in kept),
            reward=self.reward[:, kept],
            cost_usd=self.cost_usd[:, kept],
            latency_s=self.latency_s[:, kept],
        )

    def of_queries(self, count: int) -> Matrix:
        """The first so many queries."""
        return Matrix(
            queries=self.queries[:count],
            groups=self.groups[:count],
            arms=self.arms,
            reward=self.reward[:count],
            cost_usd=self.cost_usd[:count],
            latency_s=self.latency_s[:count],
        )


@lru_cache(maxsize=8)
def read(folder: Path, name: str) -> Matrix:
    """Read `<name>.queries.jsonl.gz` and `<name>.outcomes.jsonl.gz`; arms keep the order of their first outcome.

    Raises:
        FileNotFoundError: one of the two is not there.
        ValueError: an arm has no outcome for a query.
    """
    queries = list(_lines(folder / f"{name}.queries.jsonl.gz"))
    row = {query["query_id"]: number for number, query in enumerate(queries)}
    outcomes = list(_lines(folder / f"{name}.outcomes.jsonl.gz"))
    column = {arm: number for number, arm in enumerate(dict.fromkeys(outcome["model"] for outcome in outcomes))}
    found = {field: np.full((len(row), len(column)), np.nan) for field in ("reward", "cost", "latency_s")}
    for outcome in outcomes:
        for field, values in found.items():
            values[row[outcome["query_id"]], column[outcome["model"]]] = outcome.get(field) or (0.0 if field == "reward" else np.nan)
    if np.isnan(found["reward"]).any():
        missing = int(np.isnan(found["reward"]).sum())
        raise ValueError(f"{name} lacks {missing} of {found['reward'].size} outcomes, but a replay needs what every arm did on every query; leave those queries out")
    return Matrix(
        queries=tuple(query["query"] for query in queries),
        groups=tuple(query["cls"] for query in queries),
        arms=tuple(column),
        reward=found["reward"],
        cost_usd=found["cost"],
        latency_s=found["latency_s"],
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there, but the replay reads it; name the folder that has it with --data")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
