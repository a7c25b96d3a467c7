"""The error of all cycles together: how much each candidate may have, so that of all promotions no more than a stated share is false.

What is held is the false discovery rate: of all promotions up to any moment, the expected share that were of candidates not better than what they
replaced. Whoever promotes a candidate without a gate, or takes a promotion back, does not change the account.
"""

from __future__ import annotations

import msgspec

from stream.errors import GateError


class Place(msgspec.Struct, frozen=True):
    """A candidate's place in a lifetime.

    Attributes:
        alpha: what its gate may err with.
        promoted: its verdict; None while there is none.
    """

    alpha: float
    promoted: bool | None = None


class Lifetime:
    """The account of a deployment's promotions, by e-LOND.

    The t-th candidate gets alpha = level · gamma(t) · (1 + promotions so far), with gamma(t) = 1/(t(t + 1)): these sum to one, and the first
    candidate, at half the level, can be promoted on few samples. A gate that errs with alpha is an e-value of 1/alpha where it promotes, which is what
    e-LOND asks for. Promotions that are known when alpha is given are counted, later ones need not be: candidates may be judged at once.

    A candidate keeps what it was given and has one verdict, however often a crash has it asked for or recorded again. Write the account down
    before a candidate is judged, and again in the transaction that notes its verdict.

    Args:
        level: expected share of promotions that may be false, in (0, 1).

    Raises:
        GateError: the level is outside of its range.

    Source:
        Z. Xu, A. Ramdas, Online multiple testing with e-values, AISTATS 2024: e-LOND.

    Example:
        >>> lifetime = Lifetime(0.0625)
        >>> lifetime.alpha("cycle-1/react"), round(lifetime.alpha("cycle-2/react"), 6), lifetime.alpha("cycle-1/react")
        (0.03125, 0.010417, 0.03125)
    """

    def __init__(self, level: float = 0.05) -> None:
        if not 0.0 < level < 1.0:
            raise GateError(f"{level} of all promotions were to be false at most, but that share lies in (0, 1); .05 is usual")
        self.level = level
        self._places: dict[str, Place] = {}

    @property
    def places(self) -> dict[str, Place]:
        """Every candidate so far, in order."""
        return dict(self._places)

    @property
    def promotions(self) -> int:
        """Candidates that were let through."""
        return sum(place.promoted is True for place in self._places.values())

    def next_alpha(self) -> float:
        """Return what the next new candidate would get."""
        return self.level * gamma(len(self._places) + 1) * (1 + self.promotions)

    def alpha(self, candidate: str) -> float:
        """Give a candidate its error; the same again whenever it is asked for."""
        if candidate not in self._places:
            self._places[candidate] = Place(self.next_alpha())
        return self._places[candidate].alpha

    def record(self, candidate: str, *, promoted: bool) -> None:
        """Note the verdict of a candidate's gate; the same one again changes nothing.

        Raises:
            GateError: no error was set aside for it, or its verdict is another one.
        """
        place = self._places.get(candidate)
        if place is None:
            raise GateError(f"candidate {candidate!r} has a verdict, but no error was set aside for it; ask for its `alpha` before it is judged")
        if place.promoted is not None and place.promoted != promoted:
            raise GateError(f"candidate {candidate!r} has its verdict, promoted={place.promoted}, and is to have another one, but there is one verdict on each; stage it anew")
        self._places[candidate] = Place(place.alpha, promoted)

    def encode(self) -> str:
        """Write the account as JSON."""
        return msgspec.json.encode(_Account(self.level, self._places)).decode()

    @classmethod
    def decode(cls, text: str) -> Lifetime:
        """Read an account.

        Raises:
            GateError: it is none.
        """
        try:
            account = msgspec.json.decode(text, type=_Account)
        except msgspec.MsgspecError as exc:
            raise GateError(f"the account of promotions cannot be read ({exc}), but it must be what `encode` wrote; restore it") from exc
        lifetime = cls(account.level)
        lifetime._places = account.places
        return lifetime


class _Account(msgspec.Struct):
    level: float
    places: dict[str, Place]


def gamma(place: int) -> float:
    """Return the part of the level that is set aside for the candidate at a place, counted from 1.

    Example:
        >>> gamma(1), round(sum(gamma(place) for place in range(1, 1000)), 9)   # 1 - 1/1000
        (0.5, 0.999)
    """
    return 1 / (place * (place + 1))
