"""How often the gate errs and how often it sees a true gain, on simulated candidates with a look after every pair.

    python -m benchmarks.gate                # some minutes on one core; the last line is JSON
    python -m benchmarks.gate --quick        # a tenth of the candidates, docs/benchmarks.md stays as it is
    python -m benchmarks.gate --compare      # other tests beside it
    python -m benchmarks.gate --table        # pairs that users need

Scores are right or wrong; those of one sample correlate as stated. `aa_` figures are the greatest over correlations of 0, .5 and .75. A candidate is
the first of its lifetime, but where lifetimes are simulated: `lifetime_false_share` is the mean share of false ones among promotions over 100 cycles of
identical systems, `harmful_promoted` and `helpful_promoted` the shares of 50 candidates each that are promoted in one lifetime, mixed at random.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.gate_arrays import TESTS, Bools, Floats, draw_pairs, promoted
from benchmarks.report import finish
from stream.learning.gate import Lifetime, pairs_needed
from stream.learning.gate.planning import binary_variance
from stream.learning.gate.threshold import reaches

CANDIDATES, LIFETIMES, CYCLES = 4_000, 1_000, 100
LEVEL = 0.05
ALPHA = Lifetime(LEVEL).next_alpha()
"""Of the first candidate."""
BASELINE = 0.7
CORRELATIONS = (0.0, 0.5, 0.75)
INJECTED = 50
"""Harmful candidates, and helpful ones, of one lifetime."""
SEED_SAMPLES, SEED_THRESHOLD = 50, 0.02
CHUNK = 2_000_000
"""Pairs simulated at once, so that a gigabyte is never needed."""

Case = tuple[float, float, int]
"""The candidate's success rate, the correlation, and the number of pairs."""


def batches(rng: np.random.Generator, case: Case, count: int) -> Iterator[Floats]:
    """Draw candidates, some at a time."""
    candidate, correlation, pairs = case
    size = max(CHUNK // pairs, 1)
    for start in range(0, count, size):
        yield draw_pairs(rng, (min(size, count - start), pairs), baseline=BASELINE, candidate=candidate, correlation=correlation)


def share(rng: np.random.Generator, case: Case, count: int, *, alpha: float = ALPHA, within: int | None = None, horizon: int | None = None) -> float:
    """Return the share of candidates that the gate promotes.

    Args:
        rng: of the simulation.
        case: of the candidates.
        count: of the candidates.
        alpha: of the gate.
        within: only promotions after so many pairs or fewer.
        horizon: of the gate; the number of pairs.
    """
    done = [(who, at) for each in batches(rng, case, count) for who, at in [promoted(each, alpha, horizon or case[2])]]
    return float(np.mean(np.concatenate([who & (at <= (within or case[2])) for who, at in done])))


def single(rng: np.random.Generator, count: int) -> dict[str, float]:
    """Judge first candidates."""
    identical = [(BASELINE, correlation, 500) for correlation in CORRELATIONS]
    return {
        "aa_n50": max(max(share(rng, case, count, within=50), share(rng, (BASELINE, case[1], 50), count)) for case in identical),
        "aa_any_n500": max(share(rng, case, count) for case in identical),
        "regression": max(share(rng, (BASELINE - 0.05, correlation, 500), count) for correlation in CORRELATIONS),
        "power_n500_rho75": share(rng, (0.75, 0.75, 500), count),
        "power_n1200_rho50": share(rng, (0.75, 0.5, 1_200), count),
        "power_n2000_rho0": share(rng, (0.75, 0.0, 2_000), count),
    }


def lifetimes(rng: np.random.Generator, rates: Floats, *, correlation: float, pairs: int) -> Bools:
    """Judge candidates one after another, in many lifetimes at once.

    Args:
        rng: of the simulation.
        rates: the candidates' success rates, shape (lifetimes, cycles).
        correlation: of the scores of a pair.
        pairs: of each candidate.

    Returns:
        Who was promoted, shape (lifetimes, cycles).
    """
    accounts = [Lifetime(LEVEL) for _ in rates]
    found = np.zeros(rates.shape, dtype=np.bool_)
    for cycle in range(rates.shape[1]):
        alphas = np.array([[account.alpha(str(cycle))] for account in accounts])
        differences = np.empty((len(rates), pairs))
        for rate in np.unique(rates[:, cycle]):
            rows = rates[:, cycle] == rate
            differences[rows] = draw_pairs(rng, (int(rows.sum()), pairs), baseline=BASELINE, candidate=float(rate), correlation=correlation)
        found[:, cycle], _ = promoted(differences, alphas, pairs)
        for account, who in zip(accounts, found[:, cycle], strict=True):
            account.record(str(cycle), promoted=bool(who))
        if (cycle + 1) % 25 == 0:
            print(f"{len(rates):,} lifetimes: cycle {cycle + 1} of {rates.shape[1]}", file=sys.stderr)
    return found


def over_lifetimes(rng: np.random.Generator, count: int) -> dict[str, float]:
    """Judge whole lifetimes: of identical systems only, and of harmful and helpful candidates mixed."""
    identical = lifetimes(rng, np.full((count, CYCLES), BASELINE), correlation=0.5, pairs=500)
    order = rng.permuted(np.tile(np.repeat([-0.1, 0.1], INJECTED), (max(count // 10, 1), 1)), axis=1)
    mixed = lifetimes(rng, np.round(BASELINE + order, 9), correlation=0.5, pairs=600)
    return {
        "lifetime_false_share": float(np.mean(identical.any(axis=1))),  # where nothing is better, all promotions are false or there are none
        "harmful_promoted": float(np.mean(mixed[order < 0])),
        "helpful_promoted": float(np.mean(mixed[order > 0])),
        "helpful_promoted_worst_lifetime": float(np.min(mixed.sum(axis=1, where=order > 0)) / INJECTED),
    }


def seeds_rule(rng: np.random.Generator, count: int) -> dict[str, float]:
    """Judge by two independent means and a threshold."""
    means = [wins / SEED_SAMPLES for wins in range(SEED_SAMPLES + 1)]
    passes = np.array([[reaches(before, after, SEED_THRESHOLD) for after in means] for before in means])

    def accepted(rate: float) -> float:
        return float(np.mean(passes[tuple(rng.binomial(SEED_SAMPLES, each, 10 * count) for each in (BASELINE, rate))]))

    return {"seed_aa_n50": accepted(BASELINE), "seed_regression": accepted(BASELINE - 0.05), "seed_power_n50": accepted(BASELINE + 0.05)}


def compare(rng: np.random.Generator, count: int) -> None:
    """Print other tests beside the gate: what each promotes of identical and of better candidates, and after how many pairs on average."""
    cases: dict[str, tuple[Case, int]] = {
        "identical, n=500": ((BASELINE, 0.5, 500), 500),
        ".75 rho=.75 n=500": ((0.75, 0.75, 500), 500),
        ".75 rho=.75 n=500 of 1,000": ((0.75, 0.75, 500), 1_000),
        ".75 rho=.5 n=1,200": ((0.75, 0.5, 1_200), 1_200),
        ".80 rho=.5 n=600": ((0.8, 0.5, 600), 600),
    }
    print(f"| test, alpha {ALPHA} | {' | '.join(cases)} |\n|---|{'---:|' * len(cases)}")
    for name, test in TESTS.items():
        cells = []
        for case, horizon in cases.values():
            done = [test(each, ALPHA, horizon) for each in batches(rng, case, count)]
            cells.append(f"{np.mean(np.concatenate([who for who, _ in done])):.3f} ({np.mean(np.concatenate([at for _, at in done])):,.0f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def table(rng: np.random.Generator, count: int) -> None:
    """Print how many pairs a gain takes, with the power that the gate has at that number."""
    correlations, gains = (0.0, 0.25, 0.5, 0.75, 0.85), (0.02, 0.03, 0.05, 0.1)
    print(f"| true gain from .70 | {' | '.join(f'correlation {each:g}' for each in correlations)} |\n|---|{'---:|' * len(correlations)}")
    for gain in gains:
        cells = []
        for correlation in correlations:
            pairs = pairs_needed(variance=binary_variance(BASELINE, BASELINE + gain, correlation), effect=gain, alpha=ALPHA)
            try:
                cells.append(f"{pairs:,} ({share(rng, (BASELINE + gain, correlation, pairs), count):.0%})")
            except ValueError:
                cells.append("")
        print(f"| {100 * gain:g} points | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the candidates; docs/benchmarks.md stays as it is")
    parser.add_argument("--compare", action="store_true", help="only: other tests beside the gate")
    parser.add_argument("--table", action="store_true", help="only: pairs that users need")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    rng, count, many = np.random.default_rng(given.seed), CANDIDATES // (10 if given.quick else 1), LIFETIMES // (10 if given.quick else 1)
    if given.compare or given.table:
        (compare if given.compare else table)(rng, count)
        return
    figures = single(rng, count) | over_lifetimes(rng, many) | seeds_rule(rng, count)
    notes = [
        f"{count:,} candidates a figure, level {LEVEL}, so that the first candidate's error is {ALPHA}; baseline rate {BASELINE}; a look after every pair.",
        "`aa_*`, `regression`: identical systems and a true loss of 5 points, the greatest share promoted over correlations of 0, .5 and .75.",
        f"`lifetime_false_share`: mean over {many:,} lifetimes of {CYCLES} identical candidates with 500 pairs each, correlation .5.",
        f"`harmful_promoted`, `helpful_promoted`: shares of {INJECTED} each, -10 and +10 points, 600 pairs at correlation .5, mixed; mean over {max(many // 10, 1)} lifetimes.",
        f"`seed_*`: the rule of two means over {SEED_SAMPLES} samples each and a threshold of {SEED_THRESHOLD}, for identical systems, -5 and +5 points.",
    ]
    finish("gate", figures, conditions=f"Seed {given.seed}.", notes=notes, write=not given.quick)


if __name__ == "__main__":
    main()
