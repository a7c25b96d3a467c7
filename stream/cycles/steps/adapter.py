"""Step 6: where a base model is named and there are answers enough to learn from, an adapter is trained by a job of its own.

The cycle then waits without its lock, and others may run; it goes on when the job has ended, or when it has waited for too long.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from stream.archive.reader import ArchiveReader
from stream.cycles.dataset import write_dataset
from stream.cycles.entries import Cycle, Message
from stream.cycles.machine import Bench, Done
from stream.cycles.promoting import supersede
from stream.cycles.states import State
from stream.cycles.steps.mine import TRAINED, scope_of
from stream.learning.mining.answers import Period
from stream.learning.mining.export import Export, Wanted
from stream.learning.mining.redaction import Redactor
from stream.records import Adapter, TrainingJob
from stream.topics import TRAINING_JOBS


def propose_adapter(bench: Bench, cycle: Cycle) -> Done:
    """Have an adapter trained, or none."""
    plan = bench.plan
    if not plan.base_model:
        return Done(State.TRAINED, "no adapter is trained, since no base model is named (EDDY_TRAIN_MODEL)")
    if other := _trains_already(bench, cycle):
        return Done(State.TRAINED, f"cycle {other} has an adapter trained still: what has come since is kept for the next cycle after it")
    job_id = f"{plan.folder(cycle.cycle_id).name}-adapter"
    with ArchiveReader(plan.archive) as reader:
        best = Export(reader, Wanted(period=period_of(bench, cycle), split="train", min_quality=plan.min_quality))
        if best.good < plan.min_pairs:
            said = f"{best.good:,} queries have answers worth learning from, but an adapter is trained on {plan.min_pairs:,} at the least (EDDY_TRAIN_MIN_PAIRS)"
            return Done(State.TRAINED, f"{said}: they are kept for the next cycle", kept=_trained(bench, cycle, best.numbers))
        redactor = Redactor(region=plan.redact_region) if plan.redact else None
        data = write_dataset(plan.data_dir / "datasets" / f"{job_id}.jsonl", best.rows(redactor))
    redacted = None if redactor is None else dict(redactor.counts)
    spec = {"base_model": plan.base_model, "cycle_id": cycle.cycle_id, "dataset": data.as_json() | {"redacted": redacted}}
    job = TrainingJob(job_id=job_id, requested_at=bench.clock(), spec=spec)
    bench.ledger.await_job(cycle.cycle_id, job_id, bench.clock() + plan.train_s, Message(0, TRAINING_JOBS.name, job_id, msgspec.json.encode(job).decode()))
    said = f"job {job_id} trains an adapter of {plan.base_model} on {data.samples:,} answers; the cycle goes on when it ends"
    return Done(State.WAITING, said, {"job_id": job_id, "redacted": redacted})


def _trains_already(bench: Bench, cycle: Cycle) -> str:
    """Name another cycle of the same scope that waits for its job, which has the same answers; empty where none does."""
    return next((other.cycle_id for other in bench.ledger.cycles() if other.state is State.WAITING and other.agent == cycle.agent and other.cycle_id != cycle.cycle_id), "")


def period_of(bench: Bench, cycle: Cycle) -> Period:
    """Say what no adapter was trained on yet: what came after the last one's, and the answers that were too few until now."""
    last = json.loads(bench.ledger.mark(TRAINED + scope_of(cycle.agent), "{}"))
    until = bench.ledger.kept(cycle.cycle_id, State.MINED)["until"]
    return Period(after_seq=last.get("until", 0), until=until, agent=cycle.agent or None, also=tuple(last.get("left", ())))


def _trained(bench: Bench, cycle: Cycle, left: list[int]) -> dict[str, Any]:
    """Write down where the next cycle begins to look for answers; where a job fails nothing is, so that it has all of them again."""
    return {"until": bench.ledger.kept(cycle.cycle_id, State.MINED)["until"], "left": left}


def await_adapter(bench: Bench, cycle: Cycle) -> Done | None:
    """Take what the job brought; None while it may still bring something."""
    ended = bench.ledger.job(cycle.cycle_id)
    if ended is None:
        return None if bench.ledger.has_time(cycle.cycle_id) else Done(State.TRAINED, f"no adapter: its job has not ended in {bench.plan.train_s:,.0f} s (EDDY_TRAIN_MAX_S)")
    adapter = _adapter_of(ended["detail"])
    if adapter is None:
        return Done(State.TRAINED, f"no adapter: its job ended as {ended['status']}: {ended['detail'].get('reason', 'it names no adapter')}")
    name = f"adapter/{bench.plan.base_model}"
    supersede(bench, cycle.cycle_id, name)
    detail = {"record": msgspec.to_builtins(adapter), "answers": _answers_of(ended["detail"]), "summary": f"adapter {adapter.name}"}
    bench.ledger.stage(cycle.cycle_id, name, detail)
    return Done(State.TRAINED, f"adapter {adapter.name} is trained", {"adapter": adapter.name}, kept=_trained(bench, cycle, []))


def _adapter_of(detail: dict[str, Any]) -> Adapter | None:
    """Read what the job brought; a job's word is another process's."""
    try:
        return msgspec.convert(detail.get("adapter"), Adapter)
    except msgspec.ValidationError:
        return None


def _answers_of(detail: dict[str, Any]) -> dict[str, Any] | None:
    """Return the scores of answers to held-out queries, without the adapter and with it; scores of anything else, such as tokens, are none."""
    scores = detail.get("scores")
    if not isinstance(scores, dict) or scores.get("of") != "answers":
        return None
    return {"baseline": scores.get("base"), "candidate": scores.get("adapter")}
