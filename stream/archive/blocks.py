"""A block: consecutive records of one partition, as one row of the archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import msgspec
from cramjam import lz4

RECORDS = 128
"""Most records in a block: what one look-up reads, some 150 kB of traces, and what LZ4 finds repetitions in."""
BYTES = 256 * 1024
"""Size of values at which a block is closed early."""

Headers = tuple[tuple[str, bytes | None], ...]


class Kind(IntEnum):
    """What a record is."""

    MALFORMED = 0
    TRACE = 1
    FEEDBACK = 2
    DECISION = 3
    FORGET = 4


class Field(IntEnum):
    """What traces are listed by."""

    QUERY_CLASS = 1
    AGENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One archived record.

    Attributes:
        seq: its number in the archive, over all partitions.
        partition: of the log.
        offset: logical, counted over all epochs of the log.
        timestamp_ms: as the broker handed it out.
        kind: what it is.
        trace_id: whose it is; of a malformed record its key, as far as that is text.
        query_class: of a trace, as the fold reads it.
        agent: of a trace.
        key: bytes untouched.
        value: bytes untouched.
        headers: as the broker handed them out.
    """

    seq: int
    partition: int
    offset: int
    timestamp_ms: int
    kind: Kind
    trace_id: str | None
    query_class: str
    agent: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def name(self) -> bytes | None:
        """What it is looked up by: its trace id, or the key of a malformed one."""
        return self.key if self.trace_id is None else self.trace_id.encode()


class Body(msgspec.Struct, array_like=True, gc=False):
    """The columns of a block; what most records lack is left out for all where it can be."""

    timestamps_ms: list[int]
    kinds: list[int]
    ids: list[str | None] | None
    """None where the trace id is the key, of one record or of all."""
    classes: list[str]
    agents: list[str]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: dict[int, Headers]


class Block(msgspec.Struct, gc=False):
    """A block and its coordinates; log times, which only grow, are those of its first and last record."""

    first_seq: int
    partition: int
    first_offset: int
    first_ms: int
    last_ms: int
    body: Body

    @property
    def last_seq(self) -> int:
        """Number of its last record."""
        return self.first_seq + len(self.body.values) - 1

    @property
    def last_offset(self) -> int:
        """Logical offset of its last record: a block has no holes."""
        return self.first_offset + len(self.body.values) - 1

    def entry(self, place: int) -> Entry:
        """Return one of its records."""
        body = self.body
        return Entry(
            seq=self.first_seq + place,
            partition=self.partition,
            offset=self.first_offset + place,
            timestamp_ms=body.timestamps_ms[place],
            kind=Kind(body.kinds[place]),
            trace_id=id_of(None if body.ids is None else body.ids[place], body.keys[place]),
            query_class=body.classes[place],
            agent=body.agents[place],
            key=body.keys[place],
            value=body.values[place],
            headers=body.headers.get(place, ()),
        )

    def entries(self) -> Iterator[Entry]:
        """Return its records, in order."""
        return (self.entry(place) for place in range(len(self.body.values)))

    def postings(self) -> list[tuple[int, str, int, int]]:
        """Return the rows that list it: field, name, block, number of traces."""
        columns = ((Field.QUERY_CLASS.value, self.body.classes), (Field.AGENT.value, self.body.agents))
        others = len(self.body.kinds) - self.body.kinds.count(1)
        return [(field, name, self.first_seq, count) for field, column in columns for name, count in _counted(column, others)]


def _counted(names: list[str], others: int) -> list[tuple[str, int]]:
    """Count the names of traces; those of other records are empty."""
    counter = Counter(names)
    counter[""] -= others
    return [(name, count) for name, count in counter.items() if count]


def id_of(trace_id: str | None, key: bytes | None) -> str | None:
    """Return a record's trace id from what a block holds of it."""
    if trace_id is not None or key is None:
        return trace_id
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


COLUMNS = "first_seq, last_seq, partition, first_offset, last_offset, first_ms, last_ms, body"
"""A block's row, in the order of `pack` and `unpack`."""
Row = tuple[int, int, int, int, int, int, int, bytes]

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Body).decode


def pack(block: Block) -> Row:
    """Return a block as its row."""
    body = bytes(lz4.compress_block(_encode(block.body)))
    return block.first_seq, block.last_seq, block.partition, block.first_offset, block.last_offset, block.first_ms, block.last_ms, body


def unpack(row: Row) -> Block:
    """Return the block of a row."""
    first_seq, _, partition, first_offset, _, first_ms, last_ms, body = row
    return Block(first_seq, partition, first_offset, first_ms, last_ms, _decode(lz4.decompress_block(body)))
