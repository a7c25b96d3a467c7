"""The gate: what lets a candidate through, looked at whenever one likes, with a stated error for one candidate and for all of them.

`judge` weighs the scores of two evaluations, `PairedGate` pairs of scores as they come in, `CanaryGate` the rewards of two arms that
serve different requests, and `Lifetime` says what error each candidate may have so that it stays at its level over all of them.
"""

from __future__ import annotations

from stream.learning.gate.canary import CanaryGate
from stream.learning.gate.judgement import Judgement, Verdict
from stream.learning.gate.judging import judge
from stream.learning.gate.lifetime import Lifetime
from stream.learning.gate.paired import PairedGate
from stream.learning.gate.planning import pairs_needed
from stream.learning.gate.scores import Scores
from stream.learning.gate.threshold import ThresholdGate

__all__ = ["CanaryGate", "Judgement", "Lifetime", "PairedGate", "Scores", "ThresholdGate", "Verdict", "judge", "pairs_needed"]
