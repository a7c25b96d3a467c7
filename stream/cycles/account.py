"""The error that promotions may have, over all cycles: an account in the ledger, of which every gate before the live configuration gets a part."""

from __future__ import annotations

from stream.cycles.entries import Candidate
from stream.cycles.ledger import LIFETIME, Mark
from stream.cycles.machine import Bench
from stream.learning.gate import Lifetime


class Account:
    """The error that one candidate may have, set aside in the account of all cycles when its gate first asks for it.

    The learner and a cycle's process may both be at it: each change reads the account in the transaction that writes it.

    Args:
        bench: with the ledger.
        candidate: that is judged.
    """

    def __init__(self, bench: Bench, candidate: Candidate) -> None:
        self._bench, self._name = bench, f"{candidate.cycle_id}/{candidate.name}"

    def alpha(self) -> float:
        """Set an error aside; the same again after a crash."""
        given: list[float] = []

        def set_aside(kept: str) -> str:
            lifetime = self._read(kept)
            given.append(lifetime.alpha(self._name))
            return lifetime.encode()

        self._bench.ledger.put_marks({LIFETIME: set_aside})
        return given[0]

    def marks(self, *, promoted: bool) -> dict[str, Mark]:
        """What notes the verdict in the account, for the transaction that notes it of the candidate; nothing where no error was set aside."""

        def note(kept: str) -> str:
            lifetime = self._read(kept)
            lifetime.record(self._name, promoted=promoted)
            return lifetime.encode()

        is_known = self._name in self._read(self._bench.ledger.mark(LIFETIME, "")).places
        return {LIFETIME: note} if is_known else {}

    def _read(self, kept: str) -> Lifetime:
        return Lifetime.decode(kept) if kept else Lifetime(self._bench.plan.level)
