"""The figures of a set: from what ours and its rivals chose, over all seeds, to one entry of the last line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing import bounds, metrics
from benchmarks.routing.matrix import Array, Matrix
from benchmarks.routing.sets import Rounds, RoutingSet

Figure = float | int | None | list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A set with what every seed plays.

    Attributes:
        routed: the set.
        matrix: its outcomes.
        rounds: of each seed.
    """

    routed: RoutingSet
    matrix: Matrix
    rounds: Sequence[Rounds]

    @property
    def is_ranked(self) -> bool:
        """Whether it is scored by how queries are ranked."""
        return bool(len(self.rounds[0].ranked))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one contestant did, seed by seed.

    Attributes:
        chosen: the arm of each round. Shape [S, T].
        ranks: APGR and CPT80 of each seed, where queries are ranked.
    """

    chosen: NDArray[np.int64]
    ranks: Sequence[Mapping[str, float]] = field(default=())


def taken(values: Array, chosen: NDArray[np.int64]) -> Array:
    """Of each round the chosen arm's value. Shapes [T, K] and [T] to [T]."""
    return np.asarray(values[np.arange(len(chosen)), chosen])


def rewards(contest: Contest, result: Result) -> Array:
    """Mean reward of the scored rounds, of each seed."""
    return np.array([taken(rounds.reward, chosen)[rounds.scored].mean() for rounds, chosen in zip(contest.rounds, result.chosen, strict=True)])


def spends(contest: Contest, result: Result) -> Array | None:
    """Mean spend of the scored rounds, of each seed, in dollars or seconds; None without a ceiling."""
    if contest.routed.ceiling.most is None:
        return None
    pairs = zip(contest.rounds, result.chosen, strict=True)
    return np.array([np.nanmean(taken(_spend(contest, rounds), chosen)[rounds.scored]) for rounds, chosen in pairs])


def _spend(contest: Contest, rounds: Rounds) -> Array:
    spend = rounds.spend(contest.routed.ceiling)
    assert spend is not None
    return spend


def regrets(contest: Contest, result: Result) -> Array:
    """By how much the best mix of two fixed arms that spends as much earns more, of each seed."""
    spent = spends(contest, result)
    mixes = [_of_scored(contest, number, bounds.best_mix, None if spent is None else float(spent[number])) for number in range(len(contest.rounds))]
    return np.array(mixes) - rewards(contest, result)


def _of_scored(contest: Contest, number: int, bound: Callable[[Array, Array | None, float | None], float], most: float | None) -> float:
    rounds = contest.rounds[number]
    spend = None if most is None else _spend(contest, rounds)[rounds.scored]
    return bound(rounds.reward[rounds.scored], spend, most)


def scores(contest: Contest, result: Result) -> Array:
    """What two contestants are compared by, of each seed: APGR where queries are ranked, else less of regret.

    Prices tuned on other seeds do not make a rival spend exactly as much; each is compared with the best mix of two fixed arms
    at its own spend. Where they spend alike, the difference is that of their rewards.
    """
    return np.array([rank["apgr"] for rank in result.ranks]) if contest.is_ranked else -regrets(contest, result)


def difference(contest: Contest, ours: Result, rivals: Sequence[Result | None]) -> list[float] | None:
    """Ours minus the better of some rivals: the paired 95 % interval, with its mean in the middle; None where a rival is missing."""
    present = [scores(contest, rival) for rival in rivals if rival is not None]
    if len(present) < len(rivals):
        return None
    return metrics.paired_interval((scores(contest, ours) - max(present, key=lambda each: float(each.mean()))).tolist())


def own_figures(contest: Contest, result: Result) -> dict[str, Figure]:
    """What one contestant's choices come to, without looking at any other."""
    spent, most = spends(contest, result), contest.routed.ceiling.most
    ratios = None if spent is None or most is None else spent / most
    return {
        "reward": float(rewards(contest, result).mean()),
        "spend_ratio_mean": None if ratios is None else float(ratios.mean()),
        "spend_ratio_worst": None if ratios is None else float(ratios.max()),
        "regret": float(regrets(contest, result).mean()),
        "latency_mean_s": _latency_mean_s(contest, result),
        **_phased(contest, result),
        "new_arm_requests": _new_arm_requests(contest, result),
        "apgr": _rank(result, "apgr"),
        "cpt80": _rank(result, "cpt80"),
    }


def _rank(result: Result, name: str) -> float | None:
    return float(np.mean([rank[name] for rank in result.ranks])) if result.ranks and result.ranks[0] else None


def _latency_mean_s(contest: Contest, result: Result) -> float | None:
    if np.isnan(contest.matrix.latency_s).all():
        return None
    pairs = zip(contest.rounds, result.chosen, strict=True)
    return float(np.mean([np.nanmean(taken(rounds.latency_s, chosen)[rounds.scored]) for rounds, chosen in pairs]))


def curve(contest: Contest, result: Result, values: Callable[[Rounds], Array]) -> Array:
    """Mean over the seeds, round by round. Shape [T]."""
    return np.nanmean([taken(values(rounds), chosen) for rounds, chosen in zip(contest.rounds, result.chosen, strict=True)], axis=0)


def _phased(contest: Contest, result: Result) -> dict[str, Figure]:
    """What becomes of reward and spend as conditions change; the slower of both changes is the one that counts."""
    phase, most = contest.rounds[0].phase, contest.routed.ceiling.most
    if phase.max() == 0 or most is None:
        return {"phase_spend_ratios": None, "phase_rewards": None, "adaptation_requests": None}
    earned = curve(contest, result, lambda rounds: rounds.reward)
    spent = curve(contest, result, lambda rounds: _spend(contest, rounds)) / most
    return {
        "phase_spend_ratios": metrics.phase_means(spent, phase),
        "phase_rewards": metrics.phase_means(earned, phase),
        "adaptation_requests": max(metrics.adaptation_requests(earned[phase == each]) for each in (1, 2)),
    }


def _new_arm_requests(contest: Contest, result: Result) -> int | None:
    since = contest.rounds[0].new_arm_at
    if since is None:
        return None
    newcomer = len(contest.matrix.arms) - 1
    return metrics.new_arm_requests((result.chosen[:, since:] == newcomer).mean(axis=0))


def baselines(contest: Contest) -> dict[str, Figure]:
    """What full information would have earned within the ceiling, mean over the seeds."""
    most, numbers = contest.routed.ceiling.most, range(len(contest.rounds))
    classes = contest.routed.classes(contest.matrix)

    def by_class(number: int) -> float:
        kept = [classes[query] for query in contest.rounds[number].order[contest.rounds[number].scored]]
        return _of_scored(contest, number, lambda reward, spend, most: bounds.best_by_class(reward, spend, most, kept), most)

    bound = {"best_fixed": bounds.best_fixed, "best_mix": bounds.best_mix, "oracle": bounds.oracle}
    return {
        "uniform": float(np.mean([rounds.reward[rounds.scored].mean() for rounds in contest.rounds])),
        **{name: float(np.mean([_of_scored(contest, number, each, most) for number in numbers])) for name, each in bound.items()},
        "best_by_class": float(np.mean([by_class(number) for number in numbers])),
    }


def entry(contest: Contest, results: Mapping[str, Result | None], *, ours: str) -> dict[str, Figure]:
    """One set's entry.

    Args:
        contest: the set.
        results: of every contestant by its name, None where it could not be had.
        ours: which of them is scored.
    """
    scored, flat = results[ours], results.get("inverse_gap")
    assert scored is not None
    linucb, thompson, vw = (results.get(name) for name in ("mabwiser_linucb", "mabwiser_thompson", "vw"))
    against = {name: result for name, result in results.items() if result is not None and name != ours}
    return {
        **own_figures(contest, scored),
        "ours_minus_mabwiser": difference(contest, scored, [linucb, thompson]),
        "ours_minus_vw": difference(contest, scored, [vw]),
        "contextual_minus_context_free": None if flat is None else float((scores(contest, scored) - scores(contest, flat)).mean()),
        **baselines(contest),
        **{f"{name}_{figure}": value for name, result in against.items() for figure, value in _beside(contest, result).items()},
    }


def _beside(contest: Contest, result: Result) -> dict[str, Figure]:
    figures = own_figures(contest, result)
    shown = ("reward", "regret", *(("spend_ratio_mean",) if figures["spend_ratio_mean"] is not None else ()), *(("apgr", "cpt80") if contest.is_ranked else ()))
    return {name: figures[name] for name in shown}
