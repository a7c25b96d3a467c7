"""What the learner takes off the topics for cycles: requests, persons' words, other learners' steps, freezes, ends of training jobs.

What cannot be read is left out, and logged.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from stream.cycles.ledger import Ledger
from stream.records import ANY_CLASS, CycleFinished, CycleOrder, CycleRequested, CycleStep, Override, TrainingFinished

logger = logging.getLogger(__name__)

MOST_NAME = 200
"""Characters of a cycle's id and of an agent's name."""
FROZEN = "frozen"
"""Mark that says why promotions are held back; empty: they are not."""
POLICY = "policy"
"""Mark that names the policy that a word has put in the place of the settings' one; empty: none has."""

CycleRecord = CycleRequested | CycleStep | CycleFinished | CycleOrder
_TYPES: dict[str, type[CycleRecord]] = {"requested": CycleRequested, "step": CycleStep, "finished": CycleFinished, "order": CycleOrder}


class _Typed(msgspec.Struct):
    type: str = ""


def read_cycle_record(value: bytes | None) -> CycleRecord | None:
    """Read a record of `eddy.cycles`; None where it is none, of a kind that came later, or nothing."""
    try:
        kind = _TYPES.get(msgspec.json.decode(value or b"{}", type=_Typed).type)
        return None if kind is None else msgspec.json.decode(value or b"", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        logger.warning("a record of eddy.cycles cannot be read (%s), and is left out", exc)
        return None


def take_cycle_record(ledger: Ledger, record: CycleRecord) -> None:
    """Take one record of `eddy.cycles`, as often as it comes."""
    if not 0 < len(record.cycle_id) <= MOST_NAME:
        logger.warning("a cycle id of %d characters was left out, but one has between 1 and %d", len(record.cycle_id), MOST_NAME)
    elif isinstance(record, CycleRequested):
        if len(record.agent) <= MOST_NAME and ledger.request(record):
            logger.info("cycle %s is asked for: %s", record.cycle_id, record.trigger)
    elif isinstance(record, CycleOrder):
        ledger.order(record)
    elif record.learner != ledger.learner:
        _take_other(ledger, record)


def _take_other(ledger: Ledger, record: CycleStep | CycleFinished) -> None:
    if isinstance(record, CycleFinished):
        ledger.ended_elsewhere(record.cycle_id)
    elif record.learner:
        ledger.seen_elsewhere(record.cycle_id, record.learner)


class Words:
    """What stands on `eddy.overrides`, as far as cycles heed it: freezes of all classes hold promotions back, and a named policy is the one to beat."""

    def __init__(self) -> None:
        self._standing: dict[str, Override] = {}

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take a record."""
        name = key.decode(errors="replace")
        self._standing.pop(name, None)
        override = _decoded(value, Override)
        if override is not None and override.kind in ("freeze", "policy") and override.query_class == ANY_CLASS:
            self._standing[name] = override

    def marks(self) -> dict[str, str]:
        """What stands, as marks of the ledger."""
        freeze, policy = (next((word for word in self._standing.values() if word.kind == kind), None) for kind in ("freeze", "policy"))
        why = f" ({freeze.reason})" if freeze is not None and freeze.reason else ""
        return {FROZEN: f"`eddy freeze '{ANY_CLASS}'` stands{why}" if freeze is not None else "", POLICY: (policy.policy or "") if policy is not None else ""}


def take_job(ledger: Ledger, value: bytes | None) -> None:
    """Take a record of `eddy.training-jobs`: the end of a job that a cycle waits for."""
    typed = _decoded(value, _Typed)
    if typed is not None and typed.type == "finished" and (ended := _decoded(value, TrainingFinished)) is not None:
        ledger.ended_job(ended.job_id, {"status": ended.status, "detail": ended.detail})


def _decoded(value: bytes | None, kind: type[Any]) -> Any:
    try:
        return None if value is None else msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        logger.warning("a %s cannot be read (%s), and is left out", kind.__name__, exc)
        return None
