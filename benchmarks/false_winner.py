"""How often the stopping rule names a best arm where all are equal (A/A), and how soon it names one that is better.

    python -m benchmarks.false_winner [--replays 1000]

Every replay draws from the real policies, by the real book and `decide`, and looks at what each update names. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.fold.totals import MICRO, MINUTE_S, Sum, identity
from stream.records import Arm
from stream.routing.book import Book
from stream.routing.decision import decide
from stream.routing.overrides import Overrides
from stream.routing.settings import RoutingSettings

DECIDE_EVERY = 10
"""Traces between two decisions, each of which may name an arm."""
START_S = 1_700_000_000 // 60 * 60
PACES = ((60, 300), (6, 1_000))
"""Log time between two traces, and how many: five hours at one a minute, in which every bucket of time has one, or ten a minute."""
FAST_S = 1
REPLAYS, QUICK_REPLAYS = 1_000, 36
LIFTS = (0.1, 0.3)
"""How much better one arm is where a winner is to be found."""
POLICIES = ("thompson", "epsilon_greedy", "ucb")
ARMS = (2, 3, 6)
REWARDS: tuple[Callable[[random.Random, float], float], ...] = (
    lambda rng, lift: float(rng.random() < 0.98 + lift),
    lambda rng, lift: float(rng.random() < 0.5 + lift),
    lambda rng, lift: float(rng.random() < 0.9 + lift),
    lambda rng, lift: min(1.0, max(0.0, rng.choice((0.0, 0.4, 0.8, 1.0)) + lift)),
)
"""Failures that are rare, even odds, mostly successes, graded: what an arm that is better by so much earns."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Replay:
    """One class's life under a policy, through the real book: buckets of time, age and changes included.

    Attributes:
        settings: of routing.
        reward: draws what an arm of so great a lift earns.
        lifts: how much each arm is better.
        pace_s: log time between two traces.
    """

    settings: RoutingSettings
    reward: Callable[[random.Random, float], float]
    lifts: Sequence[float]
    pace_s: int

    def winner(self, rng: random.Random, traces: int) -> tuple[int, str] | None:
        """When an arm was first named by an update, and which; None where none ever was."""
        book, overrides = Book(self.settings, ""), Overrides(self.settings.arm_fields)
        arms, now_s = [Arm(model=f"m{number}") for number in range(len(self.lifts))], START_S
        book.add("c", [(arm.id, arm, (), (_row(now_s, 0.0, count=0),)) for arm in arms], now_s * 1000)
        update = decide(book.evidence("c"), settings=self.settings, overrides=overrides)
        for trace in range(1, traces + 1):
            now_s += self.pace_s
            shares = {arm.id: arm.probability for arm in update.arms}
            drawn = rng.choices(range(len(arms)), [shares.get(arm.id, 0.0) for arm in arms])[0]
            row = _row(now_s, self.reward(rng, self.lifts[drawn]), count=1)
            book.add("c", [(arms[drawn].id, arms[drawn], (), (row,))], now_s * 1000)
            if trace % DECIDE_EVERY == 0:
                update = decide(book.evidence("c"), settings=self.settings, overrides=overrides)
                if update.best_arm is not None:
                    return trace, update.best_arm
        return None


def _row(now_s: int, score: float, *, count: int) -> tuple[int, ...]:
    """The bucket of one drawn trace that a person scored, or of none."""
    sums, micro = identity(), round(score * MICRO)
    sums[Sum.COUNT] = sums[Sum.HUMAN] = count
    sums[Sum.HUMAN_MICRO], sums[Sum.HUMAN_MICRO_SQ] = micro, micro * micro
    return (MINUTE_S, now_s // MINUTE_S * MINUTE_S, 1, *sums)


def _replay(number: int, lift: float, pace_s: int) -> Replay:
    arms = ARMS[number // 3 % 3]
    settings = RoutingSettings(policy=POLICIES[number % 3], declared=tuple(Arm(model=f"m{place}") for place in range(arms)))
    return Replay(settings, REWARDS[number // 9 % len(REWARDS)], [lift, *[0.0] * (arms - 1)], pace_s)


def aa_false_winner(replays: int = 1_000, *, most: int | None = None, progress: Progress | None = None) -> float:
    """Replay classes whose arms are all equal, under three policies, with 2, 3 and 6 arms four kinds of reward and two paces in turn.

    Args:
        replays: how many.
        most: traces of a replay, where it is to be shorter.
        progress: told after each.

    Returns:
        The share of replays in which an arm was ever named the best.
    """
    named = 0
    for number in range(replays):
        pace_s, traces = PACES[number // 36 % len(PACES)]
        named += _replay(number, 0.0, pace_s).winner(random.Random(number), min(traces, most or traces)) is not None
        if progress:
            progress(number + 1, replays)
    return named / replays


def traces_to_winner(lift: float, *, replays: int = 27, traces: int = 5_000) -> dict[str, float | None]:
    """How soon an arm that is better by so much is named: the median over replays, and the shares that named it, or another."""
    found = [_replay(number, lift, FAST_S).winner(random.Random(number), traces) for number in range(replays)]
    right = [when for when, arm in filter(None, found) if arm == "m0"]
    wrong = sum(arm != "m0" for _, arm in filter(None, found))
    return {"median_traces": statistics.median(right) if right else None, "named": len(right) / replays, "wrong": wrong / replays}


def figures(data: Path, *, quick: bool) -> dict[str, Any]:
    """The figures for `benchmarks.routing_quality`; no data is needed."""
    return {"aa_false_winner": aa_false_winner(QUICK_REPLAYS if quick else REPLAYS), "traces_to_winner": {str(lift): traces_to_winner(lift) for lift in (() if quick else LIFTS)}}


def main() -> None:
    parser = argparse.ArgumentParser(description="False winners of the stopping rule.")
    parser.add_argument("--replays", type=int, default=REPLAYS)
    options = parser.parse_args()
    share = aa_false_winner(options.replays, progress=lambda done, total: print(f"{done} of {total} replays", file=sys.stderr) if done % 50 == 0 else None)
    figures = {"aa_false_winner": share, "replays": options.replays, "traces": [traces for _, traces in PACES]}
    print(json.dumps(figures | {"traces_to_winner": {str(lift): traces_to_winner(lift) for lift in LIFTS}}))


if __name__ == "__main__":
    main()
