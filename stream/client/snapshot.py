"""The routing tables as far as they were read: what a router knows. It knows nothing of topics.

A class never goes back to an older version, whatever order records arrive in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from stream.client.table import RoutingTable
from stream.errors import MalformedRecordError
from stream.records import ANY_CLASS, PARAMETERS_KEY, PolicyParameters, RoutingUpdate
from stream.routing.contextual import ContextualModel


class Snapshot:
    """The newest table of every class. Reading is safe from any thread while one thread applies records."""

    def __init__(self) -> None:
        self.model: ContextualModel | None = None
        """What tells arms apart by a request's text; None: nothing does."""
        self._tables: dict[str, RoutingTable] = {}
        self._versions: dict[str, tuple[int, int]] = {}
        self._listed: Counter[str] = Counter()
        self._withdrawn: Counter[str] = Counter()
        self._decode = msgspec.json.Decoder(RoutingUpdate).decode

    @property
    def tables(self) -> Mapping[str, RoutingTable]:
        """The tables by query class."""
        return MappingProxyType(self._tables)

    def table(self, query_class: str, pool: str = ANY_CLASS) -> RoutingTable | None:
        """Give the table of a class, else the pooled one: its tenant's own, where tenants are kept apart, else that of all."""
        return self._tables.get(query_class) or self._tables.get(pool) or self._tables.get(ANY_CLASS)

    def is_withdrawn(self, arm_id: str) -> bool:
        """Say whether every table that lists an arm has it withdrawn."""
        return 0 < self._listed[arm_id] == self._withdrawn[arm_id]

    def apply(self, key: bytes | None, value: bytes | None) -> RoutingUpdate | None:
        """Take in a record of the topic.

        Returns:
            The update, when it is a newer one.

        Raises:
            MalformedRecordError: it cannot be read; nothing has changed.
        """
        if key is not None and key.startswith(PARAMETERS_KEY.encode()):
            self.model = _model(value) or self.model
            return None
        if value is None:
            self._replace((key or b"").decode(errors="replace"), None)
            return None
        update = self._read(value)
        if update is None or update.version < self._versions.get(update.query_class, update.version):
            return None
        self._replace(update.query_class, RoutingTable.of(update))
        self._versions[update.query_class] = update.version
        return update

    def adopt(self, other: Snapshot) -> list[RoutingUpdate]:
        """Take the tables of a log that was made anew, whose versions may be lower; classes that it lacks keep theirs.

        Returns:
            The updates adopted.
        """
        for query_class, table in other._tables.items():
            self._replace(query_class, table)
        self._versions = dict(other._versions)
        self.model = other.model or self.model
        return [table.update for table in other._tables.values()]

    def _read(self, value: bytes) -> RoutingUpdate | None:
        try:
            return self._decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise MalformedRecordError("not_an_update", str(exc)) from exc

    def _replace(self, query_class: str, table: RoutingTable | None) -> None:
        old = self._tables.get(query_class)
        if table is None:
            self._tables.pop(query_class, None)
        else:
            self._tables[query_class] = table
        self._count(old, -1)
        self._count(table, 1)

    def _count(self, table: RoutingTable | None, by: int) -> None:
        if table is not None:
            self._listed.update({arm.id: by for arm in table.update.arms})
            self._withdrawn.update(dict.fromkeys(table.withdrawn, by))


def _model(value: bytes | None) -> ContextualModel | None:
    """Read a policy's parameters; None where this router has no use for them."""
    if value is None:
        return None
    try:
        return ContextualModel.of(msgspec.json.decode(value, type=PolicyParameters))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise MalformedRecordError("not_parameters", str(exc)) from exc
