"""The arrays of benchmarks.gate say what the gate says, and its pairs are what they are called."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from benchmarks import gate, gate_arrays
from benchmarks.gate_arrays import draw_pairs, exact_peeking, promoted
from stream.learning.gate import PairedGate


@pytest.mark.parametrize("null", [0.0, 0.03])
@pytest.mark.parametrize("alpha", [0.025, 0.2])
def test_arrays_judge_as_the_gate_does(alpha: float, null: float) -> None:
    """Better, equal and worse candidates, binary and graded: the same verdict after the same pair, but that the gate sees at once who cannot win any more."""
    rng = np.random.default_rng(1)
    binary = [draw_pairs(rng, (20, 120), baseline=0.7, candidate=rate, correlation=0.3) for rate in (0.5, 0.7, 0.85)]
    differences = np.concatenate([*binary, rng.uniform(-0.6, 0.9, (20, 120)), rng.uniform(-0.5, 0.5, (20, 120))])

    who, at = promoted(differences, alpha, 120, null)

    judged = [PairedGate(alpha=alpha, max_pairs=120, min_improvement=null).weigh(row.tolist()) for row in differences]
    assert 5 < sum(who) < 95
    assert [each.is_promotion for each in judged] == who.tolist()
    decided = [(each.n, n) for each, n in zip(judged, at, strict=True) if not each.reason.startswith("Not proven")]
    assert [n for n, _ in decided] == [n for _, n in decided]


def test_pairs_have_the_rates_and_the_correlation() -> None:
    """100,000 pairs: win and loss chances by hand for .7, .75 and .75 are .0762 and .0262; each is off by .004 with p < 1e-3."""
    differences = draw_pairs(np.random.default_rng(2), (1, 100_000), baseline=0.7, candidate=0.75, correlation=0.75)

    assert np.mean(differences > 0) == pytest.approx(0.0762, abs=0.004)
    assert np.mean(differences < 0) == pytest.approx(0.0262, abs=0.004)
    with pytest.raises(ValueError, match="they cannot"):
        draw_pairs(np.random.default_rng(2), (1, 1), baseline=0.1, candidate=0.9, correlation=0.9)


def test_figures_of_a_few_candidates_keep_what_is_promised() -> None:
    """The benchmark in small, 400 candidates: at the true rates (.016, .0, .86) each bound is missed with p < 1e-3. A test that is no sequential one fails the first."""
    figures = gate.single(np.random.default_rng(3), 400)
    peeking, _ = exact_peeking(draw_pairs(np.random.default_rng(3), (400, 500), baseline=0.7, candidate=0.7, correlation=0.5), gate.ALPHA, 500)

    assert figures["aa_any_n500"] <= 0.05
    assert figures["regression"] <= 0.01
    assert figures["power_n500_rho75"] >= 0.8
    assert np.mean(peeking) > 0.05


def test_examples_hold() -> None:
    """What a docstring shows is what the function does."""
    assert doctest.testmod(gate_arrays).failed == 0
