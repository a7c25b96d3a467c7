"""The routing desk: all that update-routing decides; its caller brings the records and the time, and publishes what is due."""

from __future__ import annotations

from stream.records import Override, PartitionStatistics, RoutingUpdate
from stream.routing.explanation import Explanation
from stream.routing.settings import RoutingSettings
from stream.routing.state import RoutingState


class RoutingDesk:
    """Turns statistics and overrides into routing updates.

    The steps of its owner:
        1. read `eddy.statistics`, `eddy.overrides` and `eddy.routing` from the start to the ends seen at assignment,
           giving each record to `learn` (or `forget`), `override` and `saw_update`;
        2. claim an epoch above `greatest_epoch`, and call `claim`;
        3. go on reading, and every few milliseconds publish what `due` returns and tombstone what `retired` returns;
        4. when `superseded_by` is not None, stop: a newer owner writes.
    """

    def __init__(self, *, settings: RoutingSettings, fold: str, state: RoutingState) -> None: ...

    @property
    def state(self) -> RoutingState:
        """What must outlive this process: to be written to `routing_state` after publishing."""

    @property
    def greatest_epoch(self) -> int:
        """The greatest epoch seen in any update or in the state; a claim must lie above it."""

    @property
    def superseded_by(self) -> int | None:
        """The epoch of a newer owner whose update was seen, or None. While there is one, nothing is due."""

    def claim(self, epoch: int) -> None:
        """Begin to publish, with versions (epoch, 1), (epoch, 2), ...; every class is due anew."""

    def learn(self, statistics: PartitionStatistics) -> None:
        """Take a partition's running total; of one fold, partition and class the highest offset wins, another fold's is ignored."""

    def forget_class(self, key: str) -> None:
        """Take a tombstone of `eddy.statistics`, by its key `fold/partition/query class`."""

    def override(self, key: str, override: Override | None) -> None:
        """Take an operator's word, or its tombstone, by its key on `eddy.overrides`."""

    def saw_update(self, update: RoutingUpdate | None, key: str) -> None:
        """Take what stands on `eddy.routing`; a foreign, older update (or tombstone) after ours makes ours due again."""

    def due(self, now_s: float, *, limit: int = 32) -> list[RoutingUpdate]:
        """Decide anew where something changed, and return the updates to publish, at most `limit` classes at a call.

        The class `*` (`stream.routing.evidence.ANY_CLASS`) is what a router draws from for a class without an update of its own.

        Args:
            now_s: a monotonic time, in seconds.
        """

    def retired(self) -> list[str]:
        """Take the classes that have nothing any more: their updates are to be tombstoned on `eddy.routing`."""

    def explain(self, query_class: str) -> Explanation:
        """Say why a class is routed as it is."""
