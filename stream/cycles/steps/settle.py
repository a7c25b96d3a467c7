"""Step 8: every candidate is promoted, held for a person's word, or discarded; then the cycle ends."""

from __future__ import annotations

from collections import Counter

from stream.cycles.canaries import begin, reason_against
from stream.cycles.entries import Candidate, Cycle
from stream.cycles.inbox import FROZEN
from stream.cycles.machine import Bench, Done
from stream.cycles.promoting import clear, outdated, promote, told
from stream.cycles.states import LIVE, Standing, State
from stream.cycles.steps.mine import marks_of


def settle(bench: Bench, cycle: Cycle) -> Done:
    """Settle each candidate by itself. One that was settled before a crash stays as it is."""
    for candidate in bench.ledger.candidates(cycle.cycle_id):
        if candidate.standing is Standing.ACCEPTED:
            _settle_accepted(bench, candidate)
    candidates = bench.ledger.candidates(cycle.cycle_id)
    return Done(State.SETTLED, _summed_up(candidates) or "there was no candidate", {"candidates": [told(each) for each in candidates]})


def _settle_accepted(bench: Bench, candidate: Candidate) -> None:
    if frozen := bench.ledger.mark(FROZEN, ""):
        _hold(bench, candidate, f"held back, since {frozen}: `eddy cycles approve` promotes it all the same")
    elif not outdated(bench, candidate) and not reason_against(bench, candidate):
        begin(bench, candidate)
    elif bench.plan.promotion == "approve":
        _hold(bench, candidate, "held for a person's word (EDDY_PROMOTION=approve): `eddy cycles approve` promotes it")
    else:
        promote(bench, candidate)


def _hold(bench: Bench, candidate: Candidate, reason: str) -> None:
    bench.ledger.move(candidate, Standing.HELD, {"why": f"{candidate.detail.get('why', '')}; {reason}"})


def end(bench: Bench, cycle: Cycle) -> Done:
    """End a settled cycle, and move on what the next one takes for new."""
    candidates = bench.ledger.candidates(cycle.cycle_id)
    standings = {candidate.standing for candidate in candidates}
    undecided = State.STAGED if standings & {Standing.HELD, Standing.CANARY} else State.REJECTED
    state = State.COMPLETED if standings & LIVE or not candidates else undecided
    clear(bench, cycle.cycle_id)
    return Done(state, _summed_up(candidates) or "nothing was to be changed", marks=marks_of(bench, cycle))


def _summed_up(candidates: list[Candidate]) -> str:
    """Say what became of the candidates: each that is live by name, the others by number."""
    live = [f"{each.name} is live" + (f" as version {version}" if (version := each.detail.get("version")) else "") for each in candidates if each.standing in LIVE]
    counts = Counter(str(candidate.standing) for candidate in candidates if candidate.standing not in LIVE)
    return ", ".join([*live, *(f"{count} {name}" for name, count in sorted(counts.items()))])
