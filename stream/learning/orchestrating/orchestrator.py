"""`LearningOrchestrator`: one cycle of learning from a store's traces."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream.errors import EvaluationError
from stream.learning.evolving.evolver import AgentConfigEvolver
from stream.learning.evolving.mining import TrainingDataMiner
from stream.learning.orchestrating.candidates import Candidate, proposed
from stream.learning.orchestrating.listing import Listing
from stream.learning.orchestrating.trial import Trial, judge_each

if TYPE_CHECKING:
    from stream.learning.gate import Scores

Result = dict[str, Any]


class LearningOrchestrator:
    """Mines a store, proposes configurations, and makes live what its evaluation lets through.

    Nothing live changes before a candidate's verdict, and nothing at all where that is no.

    Args:
        trace_store: with `list_traces(limit=…, [agent=…])`.
        config_dir: the agents' live configuration.
        eval_fn: scores a configuration, more is better; None: everything is accepted. One with a parameter is handed the folder that it scores, for each
            candidate by itself; one without is called before and after, for all of them as one, and finds the folder in `staged`. It returns a number,
            for which `min_improvement` counts, or scores in [0, 1] by sample, which `stream.learning.gate` weighs.
        min_improvement: of one number.
        min_sft_pairs: answers from which on an adapter is trained.
        min_quality: rating, in [0, 1], from which an answer is learned from.
        lora_config: of the adapter; None: none is trained. A trained one is only written: whoever serves it judges it.
        model_name: that it is trained for.
        router: with `update(trace_store)`, as `LearnedRouterPolicy`; it learns from the traces where a cycle is accepted.
        clock: seconds since the epoch.

    Attributes:
        staged: the folder that is evaluated at the moment; None: none is.
    """

    def __init__(
        self,
        *,
        trace_store: Any,
        config_dir: str | Path,
        eval_fn: Callable[..., Any] | None = None,
        min_improvement: float = 0.02,
        min_sft_pairs: int = 10,
        min_quality: float = 0.7,
        lora_config: Any | None = None,
        model_name: str | None = None,
        router: Any | None = None,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the time of a result, from which nothing is learned
    ) -> None:
        self.staged: Path | None = None
        self._cycle_id = ""
        self._traces, self._config_dir, self._clock, self._router = Listing(trace_store), Path(config_dir), clock, router
        self._min_sft_pairs, self._lora_config, self._model_name = min_sft_pairs, lora_config, model_name
        self._trial = Trial(eval_fn, self._config_dir, min_improvement=min_improvement, staged=self._stage) if eval_fn is not None else None
        self._miner = TrainingDataMiner(self._traces, min_quality=min_quality)
        self._evolver = AgentConfigEvolver(self._traces, config_dir=self._config_dir)

    def run(self, *, agent_id: str | None = None) -> Result:
        """Run one cycle.

        Args:
            agent_id: only from its traces, and only for its configuration; None: all.

        Returns:
            `timestamp`, `status` (`completed`, `rejected`, or `skipped`: nothing to learn from), the counts `sft_pairs`, `routing_classes` and `agent_classes`;
            unless skipped also `accepted`, `routing_updated`, `routing`, `agent_configs_evolved`, `lora_training` and `candidates` with what became of each; with
            an evaluator `baseline_score`, `post_score` and `improvement`; where it was not completed `reason`.
        """
        result: Result = {"timestamp": self._clock()}
        self._traces.begin()
        self._cycle_id = f"library-{uuid.uuid4().hex[:12]}"  # noqa: TID251 - a name, from which nothing is learned
        pairs = self._mine(result, agent_id)
        if not any((result["sft_pairs"], result["routing_classes"], result["agent_classes"])):
            return result | {"status": "skipped", "reason": "no training data available"}
        try:
            baseline = self._baseline(result)
        except EvaluationError as exc:
            return result | {"accepted": False, "status": "rejected", "reason": str(exc)}
        candidates = self._propose(result, agent_id)
        result["lora_training"] = self._train(pairs)
        self._settle(result, baseline, candidates)
        self._update_router(result)
        return result | {"candidates": [each.report() for each in candidates]}

    def _mine(self, result: Result, agent_id: str | None) -> list[dict[str, Any]]:
        pairs = self._miner.extract_sft_pairs(agent=agent_id)
        routing = self._miner.extract_routing_pairs(agent=agent_id)
        agents = self._miner.extract_agent_config_pairs(agent=agent_id)
        result |= {"sft_pairs": len(pairs), "routing_classes": len(routing), "agent_classes": len(agents)}
        if routing:
            result["routing"] = routing
        return pairs

    def _baseline(self, result: Result) -> Scores | None:
        if self._trial is None:
            return None
        baseline = self._trial.scores()
        result["baseline_score"] = baseline.mean
        return baseline

    def _propose(self, result: Result, agent_id: str | None) -> list[Candidate]:
        """Propose for every agent that a class recommends, by that agent's own traces in those classes."""
        result["routing_updated"] = result["routing_classes"] > 0
        try:
            found = self._evolver.analyze(agent=agent_id)
            own = [each for winner in {each.get("recommended_agent", "default") for each in found} for each in self._own(found, winner)]
            candidates = proposed(self._config_dir, own)
        except Exception as exc:  # traces are somebody else's: what cannot be analysed proposes nothing, and is told
            result |= {"agent_configs_evolved": False, "analysis_error": f"{type(exc).__name__}: {exc}"}
            return []
        result["agent_configs_evolved"] = len(found) > 0
        return candidates

    def _own(self, found: list[dict[str, Any]], winner: str) -> list[dict[str, Any]]:
        classes = {each.get("query_class") for each in found if each.get("recommended_agent", "default") == winner}
        return [each for each in self._evolver.analyze(agent=winner) if each.get("query_class") in classes]

    def _train(self, pairs: list[dict[str, Any]]) -> Result | None:
        """Train an adapter, where one is asked for and there is enough to train it on."""
        return None if self._lora_config is None or len(pairs) < self._min_sft_pairs else self._try_lora_training(pairs)

    def _try_lora_training(self, sft_pairs: list[dict[str, Any]]) -> Result:
        """Train an adapter; what fails is told, and the cycle goes on."""
        training = import_module("stream.training")  # by name: the learning core itself needs no torch
        if not training.HAS_TORCH:
            return {"status": "skipped", "reason": "torch not available"}
        named = {"model_name": self._model_name} if self._model_name else {}
        try:
            return dict(training.LoRATrainer(self._lora_config, **named).train(sft_pairs))
        except Exception as exc:  # a training that fails in whatever way is no reason to lose the rest of the cycle
            return {"status": "error", "reason": str(exc)}

    def _settle(self, result: Result, baseline: Scores | None, candidates: list[Candidate]) -> None:
        """Promote or discard every candidate."""
        staged = [each for each in candidates if each.status == "staged"]
        if self._trial is None or baseline is None:
            self._promote(staged, "there is no evaluator, so that everything is accepted")
            result |= {"accepted": True, "status": "completed"}
            return
        groups = [[each] for each in staged] if self._trial.sees_folder and staged else [staged]
        verdict = judge_each(self._trial, baseline, groups, promote=self._promote)
        result |= {"accepted": verdict.accepted, "status": "completed" if verdict.accepted else "rejected"}
        if verdict.post is not None:
            result |= {"post_score": verdict.post, "improvement": verdict.post - baseline.mean}
        if not verdict.accepted:
            result["reason"] = "; ".join(verdict.reasons)

    def _promote(self, candidates: Sequence[Candidate], reason: str) -> None:
        for each in candidates:
            each.reason = reason
            each.promote(self._config_dir, {"cycle": self._cycle_id, "at": self._clock()})

    def _update_router(self, result: Result) -> None:
        """Let the router learn; where it cannot, that is told."""
        if self._router is None or not result["accepted"]:
            return
        try:
            result["router"] = self._router.update(self._traces)
        except Exception as exc:  # the configurations that were promoted stay, whatever the router makes of the traces
            result["router"] = {"updated": False, "reason": f"{type(exc).__name__}: {exc}"}

    def _stage(self, folder: Path | None) -> None:
        self.staged = folder
