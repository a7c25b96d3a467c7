"""What the routing desk must remember over a restart: the table `routing_state`."""

from __future__ import annotations

import msgspec

from stream.routing.ceilings import Prices


class RoutingState(msgspec.Struct, frozen=True, kw_only=True):
    """The desk's own state; all else is read back from the topics."""

    fold: str = ""
    epoch: int = 0
    """The claim under which it publishes; a later owner's is greater."""
    counter: int = 0
    """Updates published in this epoch."""
    frozen: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    """Of each frozen class, the probability of every arm as it was frozen."""

    prices: dict[str, Prices] = msgspec.field(default_factory=dict)
    """That the ceilings are held by, of each pool of classes (`*`: of all)."""

    @property
    def version(self) -> tuple[int, int]:
        """Version of the last update published."""
        return self.epoch, self.counter

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> RoutingState:
        """Read it back.

        Raises:
            msgspec.DecodeError: the bytes are not a state.
        """
        return msgspec.json.decode(value, type=cls)
