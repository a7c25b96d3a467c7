"""What the owner of the routing must remember over a restart, and the claims by which owners follow each other.

Key:        `claim`, or `state/EPOCH`: every owner writes under its own epoch, so that no zombie overwrites its successor
Value:      who claims, as JSON; `RoutingState`, as JSON
Changelog:  `eddy-FOLD-routing_state-changelog`, one partition; the offset of a claim is the least epoch it gives
Written by: update_routing
Read by:    update_routing
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stream.routing.state import RoutingState
from stream.transport.recovery import RawTable
from stream.worker.sending import Send, acknowledged

if TYPE_CHECKING:
    from stream.app import WorkerApp

NAME = "routing_state"
CLAIM = b"claim"
STATE = b"state/"


class RoutingLedger:
    """Writes claims and states to the changelog of `routing_state`, and finds the newest state in it.

    Args:
        table: the Faust table that reads the changelog.
        send: to it.
        worker: name of this worker, for whoever reads the claims.
    """

    def __init__(self, table: RawTable, *, send: Send, worker: str) -> None:
        self._table, self._send, self._worker = table, send, worker
        self._epochs: set[int] = set()

    @property
    def changelog(self) -> str:
        """Name of the changelog topic."""
        return self._table.changelog

    def recover(self) -> RoutingState:
        """Find the state of the greatest epoch among what was read."""
        states = _states(self._table.take(0))
        self._epochs = set(states)
        return RoutingState.decode(states[max(states)]) if states else RoutingState()

    async def claim(self, *, above: int) -> int:
        """Claim an epoch.

        Args:
            above: the greatest epoch known.

        Returns:
            An epoch greater than `above`, and than that of every earlier claim in this changelog.
        """
        sent = await self._send(self.changelog, 0, CLAIM, json.dumps({"worker": self._worker}).encode())
        await acknowledged([sent])
        return max(int(sent.result().offset), above + 1)

    async def keep(self, state: RoutingState) -> list[asyncio.Future[Any]]:
        """Write a state under its epoch, and retire those of earlier epochs; returns what will be acknowledged."""
        older = [epoch for epoch in self._epochs if epoch < state.epoch]
        futures = [await self._send(self.changelog, 0, _key(epoch), None) for epoch in older]
        futures.append(await self._send(self.changelog, 0, _key(state.epoch), state.encode()))
        self._epochs = self._epochs.difference(older) | {state.epoch}
        return futures


def _key(epoch: int) -> bytes:
    return STATE + str(epoch).encode()


def _states(parts: Mapping[bytes, bytes]) -> dict[int, bytes]:
    return {int(key.removeprefix(STATE)): value for key, value in parts.items() if key.startswith(STATE)}


def register(app: WorkerApp) -> None:
    """Register the table."""
    table = app.tables.add(RawTable(app, name=NAME, partitions=1, key_type=bytes, value_type=bytes))
    app.routing_ledger = RoutingLedger(table, send=app.send_record, worker=app.settings.instance or "a worker")
