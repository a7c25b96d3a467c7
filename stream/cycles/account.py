"""The error that promotions may have, over all cycles: an account in the ledger, of which every gate before the live configuration gets a part."""

from __future__ import annotations

from stream.cycles.entries import Candidate
from stream.cycles.ledger import LIFETIME
from stream.cycles.machine import Bench
from stream.learning.gate import Lifetime


class Account:
    """The error that one candidate may have, set aside in the account of all cycles when its gate first asks for it.

    Args:
        bench: with the ledger.
        candidate: that is judged.
    """

    def __init__(self, bench: Bench, candidate: Candidate) -> None:
        self._ledger, self._name = bench.ledger, f"{candidate.cycle_id}/{candidate.name}"
        kept = bench.ledger.mark(LIFETIME, "")
        self._lifetime = Lifetime.decode(kept) if kept else Lifetime(bench.plan.level)

    def alpha(self) -> float:
        """Set an error aside; the same again after a crash."""
        alpha = self._lifetime.alpha(self._name)
        self._ledger.put_marks({LIFETIME: self._lifetime.encode()})
        return alpha

    def marks(self, *, promoted: bool) -> dict[str, str]:
        """The account with the verdict in it, for the transaction that notes it; nothing where no error was set aside."""
        if self._name not in self._lifetime.places:
            return {}
        self._lifetime.record(self._name, promoted=promoted)
        return {LIFETIME: self._lifetime.encode()}
