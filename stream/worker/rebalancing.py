"""The steps of an assignment: what is let go, what is recovered, where reading goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka.errors import IllegalStateError

from stream import metrics
from stream.worker.fatal import end_process, logger


class Rebalancing:
    """Leads the app's owners through a rebalance.

    1. Revoked: every owner lets go, since Faust revokes all partitions at every rebalance; the changelogs will be read anew.
    2. Assigned: the group has just taken this member in, which counts as a heartbeat. Faust reads the changelogs.
    3. Recovered: every owner takes its part, and the sources are moved to where their states end, while all is still paused.

    Args:
        app: whose signals are followed.
        heartbeat: noted at assignment.
        forget: makes the changelogs be read from their start.
    """

    def __init__(self, app: Any, heartbeat: Any, *, forget: Callable[[], None]) -> None:
        self._app, self._heartbeat, self._forget = app, heartbeat, forget
        self._began_s = time.monotonic()
        app.on_partitions_revoked.connect(self._revoked)
        app.on_partitions_assigned.connect(self._assigned)
        app.on_rebalance_complete.connect(self._recovered)

    async def _revoked(self, app: Any, revoked: Iterable[Any], **_: Any) -> None:
        for owner in app.owners:
            owner.revoked()
        self._forget()

    async def _assigned(self, app: Any, assigned: Iterable[Any], **_: Any) -> None:
        self._began_s = time.monotonic()
        self._heartbeat.beat(self._began_s)
        metrics.REBALANCES.inc()

    async def _recovered(self, app: Any, **_: Any) -> None:
        """Step 3.

        Raises:
            IllegalStateError: another rebalance began meanwhile; Faust waits for it and recovers anew.
        """
        count = app.rebalancing_count
        try:
            await self._recover(app)
        except Exception as exc:
            if app.rebalancing_count == count and not app.should_stop:
                end_process(exc, "recovering")
            raise IllegalStateError("the partitions were taken away while they were recovered") from exc

    async def _recover(self, app: Any) -> None:
        assigned = sorted(app.assigned())
        places: dict[tuple[str, int], int] = {}
        for owner in app.owners:
            places.update(await owner.recovered(assigned))
        await app.seek(places)
        seconds = time.monotonic() - self._began_s
        metrics.RECOVERY_SECONDS.set(seconds)
        logger.info("recovered %d source partitions in %.2f s", len(places), seconds)
