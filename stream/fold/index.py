"""The join index: the last entries of a partition, packed in columns over the slots of a ring.

An entry is a trace, or feedback and decisions that wait for theirs. Each takes a number when it comes and again when it
moves to the young end; it leaves when `horizon` numbers have been taken after its own. Its slot is that number modulo
the horizon. A dict knows only the block of slots that a key stands in: blocks are few, so that their numbers are shared,
where each slot's own would take 32 bytes; in the block the key is looked for.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from typing import NamedTuple

from stream.fold.spec import FoldSpec
from stream.reading.arm import FullArm
from stream.reading.chunk import KEY_BYTES

NO_KEY = bytes(KEY_BYTES)
WAITING, VACANT, GONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
"""Places that are none: the entry waits for its trace; it has moved away; its cell has left (known only after a recovery)."""
NO_SCORE = -1
BLOCK_BITS = 6
"""Slots in a block, as a power of two: half of its keys are compared until one is found, in half a microsecond."""
GROWTH = 1024
"""Rows by which the columns grow until they have as many as the horizon."""


class Decided(NamedTuple):
    """A decision that waits for its trace."""

    arm: FullArm
    drawn: bool
    at_ms: int
    """The partition's time at its record."""


class JoinIndex:
    """The join index of one partition.

    Attributes:
        seq: number that the next entry takes.
        blocks: block of slots of every key.
        keys: by slot; the hash of the trace id.
        places: by slot; the place in the totals of the trace, or of the decision that waits for it; or one of those that are none.
        minutes: by slot; the partition's time at the trace or at that decision.
        outcomes: by slot; that of a decision is unknown until it counts as a failure.
        inlines: by slot; the micro-score that the trace brought with it.
        ratings: by slot; packed, None where there are none.
        decisions: by slot, of the few entries that have one waiting.
        pending: slots of those whose deadline has not passed, in the order in which it will; derived from `decisions` and the time.
        changed: slots of entries older than `fresh_from` that changed since the last checkpoint.
        fresh_from: number that the next entry took at the last checkpoint.
    """

    __slots__ = (
        *("_compact_at", "_numbers", "blocks", "changed", "decisions", "fresh_from", "horizon", "inlines", "keys", "minutes", "outcomes", "pending"),
        *("places", "ratings", "seq"),
    )

    def __init__(self, spec: FoldSpec) -> None:
        self.horizon = spec.horizon
        self.seq = 0
        self.blocks: dict[bytes, int] = {}
        self.keys: list[bytes] = []
        self.places = array("I")
        self.minutes = array("I")
        self.outcomes = array("B")
        self.inlines = array("i")
        self.ratings: list[bytes | None] = []
        self.decisions: dict[int, Decided] = {}
        self.pending: OrderedDict[int, None] = OrderedDict()
        self.changed: set[int] = set()
        self.fresh_from = 0
        self._compact_at = self.horizon + self._slack
        self._numbers: list[int] = []
        """Of the blocks: one object each, for all keys in it."""

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def _slack(self) -> int:
        """Keys that come before the dict is copied: it is then not yet as full as its next doubling takes."""
        return max(1024, self.horizon // 4)

    @property
    def oldest(self) -> int:
        """Number below which entries have left."""
        return max(0, self.seq - self.horizon)

    def seq_of(self, slot: int) -> int:
        """Return the number of the entry in a slot."""
        return self.seq - 1 - (self.seq - 1 - slot) % self.horizon

    def find(self, key: bytes) -> int | None:
        """Return the slot of a key, None where it is not in the index."""
        block = self.blocks.get(key)
        if block is None:
            return None
        return self.keys.index(key, block << BLOCK_BITS, block + 1 << BLOCK_BITS)

    def is_waiting(self, slot: int) -> bool:
        """Whether the entry's trace has not come yet."""
        return self.places[slot] == WAITING or slot in self.decisions

    def occupied(self) -> list[int]:
        """Return the slots that hold an entry, from old to young."""
        oldest, size = self.oldest % self.horizon, len(self.keys)
        return [slot for slots in (range(oldest, size), range(oldest)) for slot in slots if self.places[slot] != VACANT]

    def add(self, key: bytes, place: int, minute: int, outcome: int, inline_micro: int, ratings: bytes | None) -> int:
        """Put an entry at the young end, in place of the oldest where the columns are full; return its slot."""
        slot = self.seq % self.horizon
        keys, places = self.keys, self.places
        if slot == len(keys):
            self._grow()
        elif places[slot] != VACANT:
            del self.blocks[keys[slot]]
        self.seq += 1
        self.blocks[key] = self._numbers[slot >> BLOCK_BITS]
        keys[slot] = key
        places[slot] = place
        self.minutes[slot] = minute
        self.outcomes[slot] = outcome
        self.inlines[slot] = inline_micro
        self.ratings[slot] = ratings
        return slot

    def _grow(self) -> None:
        """Add empty rows at the end of the columns."""
        rows = min(GROWTH, self.horizon - len(self.keys))
        self.keys.extend([NO_KEY] * rows)
        self._number()
        self.places.extend([VACANT] * rows)
        self.minutes.extend([0] * rows)
        self.outcomes.extend([0] * rows)
        self.inlines.extend([NO_SCORE] * rows)
        self.ratings.extend([None] * rows)

    def _number(self) -> None:
        self._numbers.extend(range(len(self._numbers), -(-len(self.keys) >> BLOCK_BITS)))

    def know_keys(self) -> None:
        """Make the dict anew from the columns; of a key that stands there twice the younger counts."""
        self._number()
        self.blocks = {}
        oldest = self.oldest % self.horizon
        for start, end in ((oldest, len(self.keys)), (0, oldest)):
            for number in range(start >> BLOCK_BITS, -(-end >> BLOCK_BITS)):
                first, last = max(start, number << BLOCK_BITS), min(end, number + 1 << BLOCK_BITS)
                self.blocks.update(dict.fromkeys(self.keys[first:last], self._numbers[number]))
        self.blocks.pop(NO_KEY, None)

    def compact_if_due(self) -> None:
        """Copy the dict now and then: one that gains and loses keys without end doubles its table, and a copy is the only way back."""
        if self.seq >= self._compact_at:
            self.blocks = dict(self.blocks)
            self._compact_at = self.seq + self._slack

    def clear(self, slot: int) -> None:
        """Take the entry out of the index; the slot keeps its number."""
        del self.blocks[self.keys[slot]]
        self.vacate(slot)

    def vacate(self, slot: int) -> None:
        """Empty the columns of a slot."""
        self.keys[slot] = NO_KEY
        self.places[slot] = VACANT
        self.minutes[slot] = 0
        self.outcomes[slot] = 0
        self.inlines[slot] = NO_SCORE
        self.ratings[slot] = None
        self.drop_decision(slot)

    def drop_decision(self, slot: int) -> None:
        """Forget the decision of an entry, if it has one."""
        self.decisions.pop(slot, None)
        self.pending.pop(slot, None)

    def mark(self, slot: int) -> None:
        """Note that an entry changed."""
        self.changed.add(slot)
