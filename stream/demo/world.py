"""What the demo's fleet lives in: queries, arms, and what each arm truly earns on each query.

The rewards are those of real agents on the SQL tasks of InterCode where `EDDY_DATA` has them, else drawn from the table of
mean rewards that this package ships.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from stream.records import Arm

DATA_VARIABLE, DATA_BESIDE = "EDDY_DATA", Path("../shared/data")
USD_PER_TURN = {"gpt-4": 0.03, "gpt-3.5": 0.002, "chat-bison-001": 0.0015, "text-bison-001": 0.0015, "starchat": 0.0005}
"""Made up in the proportion of list prices; the outcomes have none."""
SECONDS_PER_TURN = {"gpt-4": 2.4, "gpt-3.5": 0.9, "chat-bison-001": 1.1, "text-bison-001": 1.2, "starchat": 1.6}
"""Made up as well."""
TOKENS_PER_TURN = 550
QUERIES_PER_CLASS = 128
"""Queries made of the shipped table: as many as InterCode has on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query and its class."""

    text: str
    query_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an arm earns on a query."""

    reward: float
    turns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What serving a request costs, as the agent reports it."""

    tokens: int
    cost_usd: float
    latency_s: float


class World:
    """Queries, and a complete table of what every arm earns on each.

    Args:
        queries: the queries.
        outcomes: of every query, in their order: by arm id.
        source: where the rewards come from, in words.
    """

    def __init__(self, queries: Sequence[Query], outcomes: Sequence[Mapping[str, Outcome]], *, source: str) -> None:
        self.queries = tuple(queries)
        self.arms = tuple(Arm.parse(name) for name in sorted(outcomes[0]))
        self.source = source
        self._outcomes = tuple(outcomes)

    def reward(self, number: int, arm: Arm) -> float:
        """True reward, in [0, 1], of an arm on the query of this number."""
        return self._outcomes[number][arm.id].reward

    def uniform(self, number: int) -> float:
        """Expected reward of choosing uniformly among the arms for the query of this number."""
        outcomes = self._outcomes[number].values()
        return sum(outcome.reward for outcome in outcomes) / len(outcomes)

    def served(self, number: int, arm: Arm) -> Served:
        """What the request costs when this arm serves it."""
        turns = max(1.0, self._outcomes[number][arm.id].turns)
        return Served(tokens=round(turns * TOKENS_PER_TURN), cost_usd=turns * USD_PER_TURN.get(arm.model, 0.001), latency_s=turns * SECONDS_PER_TURN.get(arm.model, 1.0))


def find_world(*, seed: int) -> World:
    """Take the full outcomes where they are at hand, else the shipped table.

    Args:
        seed: of the draws from the shipped table.
    """
    folder = Path(os.environ.get(DATA_VARIABLE, DATA_BESIDE))
    names = [folder / f"intercode_sql.{part}.jsonl.gz" for part in ("queries", "outcomes")]
    if all(name.is_file() for name in names):
        return world_of_outcomes(_lines(names[0]), _lines(names[1]))
    return world_of_table(json.loads(files("stream.demo").joinpath("outcomes.json").read_text()), seed=seed)


def world_of_outcomes(queries: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]]) -> World:
    """Make a world of recorded outcomes; queries that not every arm has served are left out."""
    by_query: dict[str, dict[str, Outcome]] = {}
    for row in outcomes:
        arm = Arm(model=row["model"].partition("+")[0], agent=row["agent"])
        by_query.setdefault(row["query_id"], {})[arm.id] = Outcome(reward=row["reward"], turns=row["turns"])
    most = max(len(entry) for entry in by_query.values())
    complete = [row for row in queries if len(by_query.get(row["query_id"], {})) == most]
    return World(
        [Query(text=row["query"], query_class=row["cls"]) for row in complete],
        [by_query[row["query_id"]] for row in complete],
        source=f"recorded outcomes of {most} agents on {len(complete)} SQL tasks (InterCode)",
    )


def world_of_table(table: Mapping[str, Any], *, seed: int) -> World:
    """Make a world of mean rewards: every arm either solves a query of a class or does not, drawn once."""
    draw = random.Random(seed)
    queries, outcomes = [], []
    for query_class, means in table["rewards"].items():
        for number in range(QUERIES_PER_CLASS):
            queries.append(Query(text=f"task {number} of {query_class}", query_class=query_class))
            outcomes.append({arm: Outcome(reward=float(draw.random() < mean), turns=table["turns"][arm]) for arm, mean in means.items()})
    return World(queries, outcomes, source="drawn from mean rewards on SQL tasks (InterCode), shipped with the package")


def _lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
