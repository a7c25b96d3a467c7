"""Step 3: the live configuration is evaluated, which the candidates are then held against."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from stream.cycles.entries import Cycle
from stream.cycles.machine import Bench, Done
from stream.cycles.plan import Plan
from stream.cycles.promoting import discard
from stream.cycles.states import State
from stream.errors import CycleError
from stream.learning.evaluators import load
from stream.learning.evolving import live
from stream.learning.gate import Scores

logger = logging.getLogger(__name__)


def measure(bench: Bench, cycle: Cycle) -> Done:
    """Evaluate what is live; or end the cycle, where there is nothing to learn from."""
    if nothing := bench.ledger.kept(cycle.cycle_id, State.CHECKED)["nothing"]:
        discard(bench, cycle, nothing)
        return Done(State.SKIPPED, nothing)
    if not bench.plan.evaluator:
        return Done(State.MEASURED, "nothing evaluates configurations (EDDY_EVALUATOR is not set): they are staged for a person's word, and none is promoted")
    try:
        scores, before = evaluated(bench.plan, bench.plan.config_dir), live.digest_of_all(bench.plan.config_dir)
    except Exception as exc:
        raise CycleError(f"the evaluation of the live configuration failed ({type(exc).__name__}: {exc}), but candidates are held against it; mend EDDY_EVALUATOR") from exc
    said = f"the live configuration scores {scores.mean:.4f}" + (f" over {len(scores.by_id):,} samples" if scores.by_id else "")
    return Done(State.MEASURED, said, {"score": scores.mean, "samples": len(scores.by_id)}, kept=kept_of(scores, before))


def evaluated(plan: Plan, folder: Path) -> Scores:
    """Evaluate a folder of configurations, as the deployment's evaluator does it."""
    folder.mkdir(parents=True, exist_ok=True)
    return load(plan.evaluator).evaluate(folder, limit=plan.max_pairs)


def kept_of(scores: Scores, digest: str) -> dict[str, Any]:
    """Write scores down, with what they are of."""
    return {"digest": digest, "by_id": dict(scores.by_id), "single": scores.single}


def baseline_of(bench: Bench, cycle: Cycle) -> Scores:
    """Return the scores of what is live, evaluated anew where it has changed since step 3: a cycle may have waited for a training job meanwhile."""
    kept = bench.ledger.kept(cycle.cycle_id, State.MEASURED)
    if kept["digest"] == live.digest_of_all(bench.plan.config_dir):
        return Scores(kept["by_id"], kept["single"])
    logger.info("the live configuration has changed since it was evaluated: it is evaluated again")
    return evaluated(bench.plan, bench.plan.config_dir)
