"""Who holds which training job, read from the log alone, so that every trainer comes to the same answer."""

from __future__ import annotations

from dataclasses import dataclass

from stream.records import TrainingClaim, TrainingFinished, TrainingJob, TrainingProgress

LONGEST_LEASE_S = 3600.0
"""A claim that asks for more gets this, so that no trainer that died keeps a job for days."""

Entry = TrainingJob | TrainingClaim | TrainingProgress | TrainingFinished


@dataclass(slots=True)
class Standing:
    """Where a job stands.

    Attributes:
        job: what is to be trained.
        trainer: that holds it, or held it last; None: nobody has claimed it.
        lease_s: seconds for which a claim or a progress record holds it.
        until_ms: broker time at which the lease ends.
    """

    job: TrainingJob
    trainer: str | None = None
    lease_s: float = 0.0
    until_ms: float = 0.0


class Jobs:
    """The jobs of `eddy.training-jobs` that have not ended. A job's records share its key, hence a partition and an order."""

    def __init__(self) -> None:
        self._open: dict[str, Standing] = {}
        self._ended: set[str] = set()

    def take(self, entry: Entry, at_ms: float) -> None:
        """Take a record, in the log's order.

        Args:
            entry: of any kind; of a job that is not known or has ended it changes nothing.
            at_ms: its broker time; no trainer's clock is asked.
        """
        if isinstance(entry, TrainingJob):
            if entry.job_id not in self._ended:
                self._open.setdefault(entry.job_id, Standing(entry))
        elif isinstance(entry, TrainingFinished):
            self._ended.add(entry.job_id)
            self._open.pop(entry.job_id, None)
        elif (standing := self._open.get(entry.job_id)) is not None:
            _renew(standing, entry, at_ms)

    def free(self, now_ms: float) -> list[TrainingJob]:
        """Return the jobs that nobody holds, the oldest in the log first.

        Args:
            now_ms: broker time.
        """
        return [standing.job for standing in self._open.values() if now_ms >= standing.until_ms]

    def is_held(self, job_id: str, trainer: str, now_ms: float) -> bool:
        """Say whether a trainer may work on a job at this broker time."""
        standing = self._open.get(job_id)
        return standing is not None and standing.trainer == trainer and now_ms < standing.until_ms


def _renew(standing: Standing, entry: TrainingClaim | TrainingProgress, at_ms: float) -> None:
    """The first claim wins until its lease ends. Progress renews it, even late, where no other claim came before."""
    if isinstance(entry, TrainingClaim):
        if not entry.lease_s > 0 or (entry.trainer != standing.trainer and at_ms < standing.until_ms):
            return
        standing.trainer, standing.lease_s = entry.trainer, min(entry.lease_s, LONGEST_LEASE_S)
    elif entry.trainer != standing.trainer:
        return
    standing.until_ms = max(standing.until_ms, at_ms + standing.lease_s * 1000)
