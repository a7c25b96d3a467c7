"""The parts of a checkpoint as they stand in the changelog: keys, values, and how rows and buckets are packed in them.

Columns are little-endian, as on every machine that Eddy runs on.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from stream.fold.buckets import Slab, Span, Totals
from stream.fold.index import GONE, Decided, JoinIndex
from stream.fold.state import Counters
from stream.reading.arm import FullArm
from stream.reading.chunk import KEY_BYTES

PART_BYTES = 400_000
"""Size above which a part is split: under a broker's usual limit of a megabyte a record, with room for its header."""
PART_ROWS = 8_192
PART_BUCKETS = 2_000

KEY = struct.Struct(">HQ16sH")
"""Partition, logical end offset, id of the checkpoint, number of the part."""

Item = TypeVar("Item")
Mark: TypeAlias = tuple[int, int]
"""Logical offset of a record, and its hash."""


class Part(NamedTuple):
    """One record of the changelog."""

    key: bytes
    value: bytes


class Head(msgspec.Struct, array_like=True, kw_only=True):
    """What a checkpoint is, and what a state is besides buckets and rows: on every part of it."""

    base: int
    end: int
    full: bool
    parts: int
    """Parts of this checkpoint."""
    rows: int
    """Entries of the whole index at its end."""
    epoch: int
    epoch_start: int
    log_base: int
    record_hash: int
    log_time_ms: int
    seq: int
    counters: Counters
    left: list[Span]
    """Spans that aged out since the base."""
    pairs: bytes = b"{}"
    """All sums over doubly scored traces: a few kilobytes at most."""
    marks: list[Mark] = []
    """Of a full checkpoint: where the checkpoints before it ended, which it lets be removed."""


class Rows(msgspec.Struct, array_like=True, kw_only=True):
    """Rows of the join index, in columns. Their numbers are `first`, `first + 1`, … or, where they have holes, `scattered`."""

    count: int
    first: int
    scattered: bytes
    keys: bytes
    places: bytes
    minutes: bytes
    outcomes: bytes
    inlines: bytes
    ratings: list[bytes | None]
    decisions: dict[int, Decided]
    """By place in the columns."""
    cells: dict[int, tuple[str, FullArm]]
    """What the cells' numbers in `places` stand for."""

    @property
    def seqs(self) -> Sequence[int]:
        """Number of every row."""
        if not self.scattered:
            return range(self.first, self.first + self.count)
        seqs = array("Q")
        seqs.frombytes(self.scattered)
        return seqs


class SpanBuckets(msgspec.Struct, array_like=True, kw_only=True):
    """Buckets of one span: place and sums of each."""

    level: int
    start: int
    places: list[int]
    sums: list[list[int]]


class Buckets(msgspec.Struct, array_like=True, kw_only=True):
    """Buckets that changed. In JSON, since squares may take more than 64 bits."""

    spans: list[SpanBuckets]
    cells: dict[int, tuple[str, FullArm]]


class PartValue(msgspec.Struct, array_like=True, kw_only=True):
    """What a part holds: its checkpoint's head, and either rows or buckets of it."""

    head: Head
    index: bytes = b""
    buckets: bytes = b""


encode_part = msgspec.msgpack.Encoder().encode
decode_part = msgspec.msgpack.Decoder(PartValue).decode
encode_buckets = msgspec.json.Encoder().encode
decode_buckets = msgspec.json.Decoder(Buckets).decode
decode_rows = msgspec.msgpack.Decoder(Rows).decode

Change: TypeAlias = tuple[Span, int, list[int]]
"""(span, place, sums) of a bucket."""


# ---- buckets


def changed_buckets(totals: Totals, *, full: bool) -> list[Change]:
    """Return all buckets, or those that changed since they were last asked for; they count as unchanged from now on."""
    return [change for level, slabs in enumerate(totals.slabs) for start, slab in slabs.items() for change in _of_slab((level, start), slab, full)]


def _of_slab(span: Span, slab: Slab, full: bool) -> Iterator[Change]:
    places: Iterable[int] = slab.sums if full else slab.dirty
    yield from [(span, place, slab.sums[place]) for place in places]
    slab.dirty.clear()


def pack_buckets(totals: Totals, changes: Sequence[Change]) -> bytes:
    """Pack buckets with the names of their cells."""
    spans: dict[Span, SpanBuckets] = {}
    for (level, start), place, sums in changes:
        span = spans.get((level, start))
        if span is None:
            span = spans[level, start] = SpanBuckets(level=level, start=start, places=[], sums=[])
        span.places.append(place)
        span.sums.append(sums)
    return encode_buckets(Buckets(spans=list(spans.values()), cells=_cells(totals, (place for _, place, _ in changes))))


def _cells(totals: Totals, places: Iterable[int]) -> dict[int, tuple[str, FullArm]]:
    numbers = {place >> 1 for place in places if place < GONE}
    cells = {number: totals.cells[number] for number in numbers if number < len(totals.cells)}
    return {number: (cell.query_class, cell.arm) for number, cell in cells.items() if cell.buckets}


# ---- rows


def pack_rows(index: JoinIndex, totals: Totals, seqs: Sequence[int]) -> bytes:
    """Pack the rows of these numbers, in ascending order: slices of columns where no number is left out and the ring does not end between them."""
    slots = [seq % index.horizon for seq in seqs]
    dense = seqs[-1] - seqs[0] == len(seqs) - 1
    take = _slice(slots[0], slots[-1] + 1) if dense and slots[0] <= slots[-1] else _gather(slots)
    places = take(index.places)
    rows = Rows(
        count=len(seqs),
        first=seqs[0],
        scattered=b"" if dense else array("Q", seqs).tobytes(),
        keys=b"".join(take(index.keys)),
        places=array("I", places).tobytes(),
        minutes=array("I", take(index.minutes)).tobytes(),
        outcomes=array("B", take(index.outcomes)).tobytes(),
        inlines=array("i", take(index.inlines)).tobytes(),
        ratings=list(take(index.ratings)),
        decisions={at: index.decisions[slot] for at, slot in enumerate(slots) if slot in index.decisions} if index.decisions else {},
        cells=_cells(totals, set(places)),
    )
    return msgspec.msgpack.encode(rows)


def _slice(start: int, end: int) -> Callable[[Sequence[Any]], Sequence[Any]]:
    return lambda column: column[start:end]


def _gather(slots: list[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    return itemgetter(*slots) if len(slots) > 1 else lambda column: (column[slots[0]],)


def split(items: Sequence[Item], most: int, pack: Callable[[Sequence[Item]], bytes]) -> Iterator[tuple[Sequence[Item], bytes]]:
    """Pack items in order into bodies of at most `most` of them and about `PART_BYTES`."""
    for start in range(0, len(items), most):
        yield from _halve(items[start : start + most], pack)


def _halve(items: Sequence[Item], pack: Callable[[Sequence[Item]], bytes]) -> Iterator[tuple[Sequence[Item], bytes]]:
    body = pack(items)
    if len(body) <= PART_BYTES or len(items) == 1:
        yield items, body
        return
    middle = len(items) // 2
    yield from _halve(items[:middle], pack)
    yield from _halve(items[middle:], pack)


def key_bytes(rows: Rows) -> list[bytes]:
    """Return the key of every row."""
    keys = rows.keys
    return [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)]
