"""One verdict on two evaluations, whatever kind of scores they gave."""

from __future__ import annotations

from stream.errors import GateError
from stream.learning.gate.judgement import Judgement
from stream.learning.gate.paired import PairedGate
from stream.learning.gate.scores import Scores, paired
from stream.learning.gate.threshold import ThresholdGate


def judge(baseline: Scores, candidate: Scores, *, alpha: float, max_pairs: int, min_improvement: float = 0.0, least_gain: float = 0.02) -> Judgement:
    """Judge two finished evaluations: there will be no more samples, so the verdict is never `undecided`.

    Args:
        baseline: of the live configuration.
        candidate: of the candidate.
        alpha: see `PairedGate`.
        max_pairs: of which the first are looked at, in the order of the ids' hashes.
        min_improvement: see `PairedGate`.
        least_gain: what is asked of a candidate where both evaluations gave one number, the seed's `min_improvement`.

    Raises:
        GateError: one has scores of samples and the other has not, or no sample is scored by both.
    """
    if baseline.single is not None and candidate.single is not None:
        return ThresholdGate(min_improvement=least_gain).look(baseline.single, candidate.single)
    if baseline.single is not None or candidate.single is not None:
        raise GateError("one evaluation gave scores of samples and the other one number, but only the same kind can be compared; let both score the same samples")
    before, after = paired(baseline, candidate)
    if not before:
        raise GateError(f"the baseline has {len(baseline.by_id)} samples and the candidate {len(candidate.by_id)}, but none in common; let both score the same ones")
    horizon = min(len(before), max_pairs)
    return PairedGate(alpha=alpha, max_pairs=horizon, min_improvement=min_improvement).look(before[:horizon], after[:horizon])
