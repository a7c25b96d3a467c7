"""How often the stopping rule names a best arm where all are equal (A/A), and how soon it names one that is better.

    python -m benchmarks.false_winner [--replays 1000]

Every replay draws from the real policies, decides anew by the real desk's `decide`, and looks at the stopping rule after every
trace. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.records import Arm
from stream.routing.decision import decide
from stream.routing.evidence import ArmEvidence, ClassEvidence, Tally
from stream.routing.overrides import Overrides
from stream.routing.settings import RoutingSettings
from stream.routing.stopping import lead

TRACES = 1_000
"""In one replay."""
DECIDE_EVERY = 10
"""Traces between two decisions; the stopping rule is looked at after every trace."""
REPLAYS, QUICK_REPLAYS = 1_000, 36
LIFTS = (0.1, 0.3)
"""How much better one arm is where a winner is to be found."""
POLICIES = ("thompson", "epsilon_greedy", "ucb")
ARMS = (2, 3, 6)
REWARDS: tuple[Callable[[random.Random, float], float], ...] = (
    lambda rng, lift: float(rng.random() < 0.5 + lift),
    lambda rng, lift: float(rng.random() < 0.9 + lift),
    lambda rng, lift: min(1.0, max(0.0, rng.choice((0.0, 0.4, 0.8, 1.0)) + lift)),
)
"""Even odds, mostly successes, graded: what an arm that is better by so much earns."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Replay:
    """One class's life under a policy.

    Attributes:
        settings: of routing.
        reward: draws what an arm of so great a lift earns.
        lifts: how much each arm is better.
        scores: of each arm.
    """

    settings: RoutingSettings
    reward: Callable[[random.Random, float], float]
    lifts: Sequence[float]
    scores: list[Tally] = field(default_factory=list)

    def winner(self, rng: random.Random, traces: int) -> tuple[int, str] | None:
        """When an arm was first named, and which; None where none ever was."""
        self.scores = [Tally() for _ in self.lifts]
        shares: Mapping[str, float] = {}
        for trace in range(traces):
            if trace % DECIDE_EVERY == 0:
                shares = {arm.id: arm.probability for arm in decide(self.evidence(), settings=self.settings, overrides=Overrides(self.settings.arm_fields)).arms}
            arm = rng.choices(range(len(self.lifts)), list(shares.values()))[0]
            score = self.reward(rng, self.lifts[arm])
            self.scores[arm] = self.scores[arm].plus(Tally(1.0, score, score * score))
            found = lead(self.evidence(), self.settings.alpha)
            if found and found.is_proven:
                return trace + 1, found.leader
        return None

    def evidence(self) -> ClassEvidence:
        return ClassEvidence(query_class="c", arms=tuple(_arm(number, scores) for number, scores in enumerate(self.scores)))


def _arm(number: int, scores: Tally) -> ArmEvidence:
    count = round(scores.weight)
    return ArmEvidence(
        arm=Arm(model=f"m{number}"), id=f"m{number}", drawn=scores, graded=scores.squares != scores.total, count=count, drawn_count=count, by_source=(count, 0, 0, 0)
    )


def _replay(number: int, lift: float) -> Replay:
    arms = ARMS[number // 3 % 3]
    return Replay(RoutingSettings(policy=POLICIES[number % 3]), REWARDS[number // 9 % 3], [lift, *[0.0] * (arms - 1)])


def aa_false_winner(replays: int = 1_000, *, traces: int = TRACES, progress: Progress | None = None) -> float:
    """Replay classes whose arms are all equal, under three policies, with 2, 3 and 6 arms and three kinds of reward in turn.

    Returns:
        The share of replays in which an arm was ever named the best.
    """
    named = 0
    for number in range(replays):
        named += _replay(number, 0.0).winner(random.Random(number), traces) is not None
        if progress:
            progress(number + 1, replays)
    return named / replays


def traces_to_winner(lift: float, *, replays: int = 27, traces: int = 5_000) -> dict[str, float | None]:
    """How soon an arm that is better by so much is named: the median over replays, and the shares that named it, or another."""
    found = [_replay(number, lift).winner(random.Random(number), traces) for number in range(replays)]
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
    print(json.dumps({"aa_false_winner": share, "replays": options.replays, "traces": TRACES, "traces_to_winner": {str(lift): traces_to_winner(lift) for lift in LIFTS}}))


if __name__ == "__main__":
    main()
