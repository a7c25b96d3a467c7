"""A policy in hindsight: what it would have decided for each archived request, from what the log had said before that request.

The records are folded by the real fold, and decided on by the real policy. What the policy itself would have found out, had it
drawn, is in no log: it is judged by the evidence that others collected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stream.archive.blocks import Entry, Kind
from stream.archive.refolding import ArchivedRecord
from stream.fold.fold import fold
from stream.fold.spec import FoldSpec
from stream.fold.state import PartitionState
from stream.routing.book import Book
from stream.routing.decision import decide
from stream.routing.overrides import Overrides
from stream.routing.settings import RoutingSettings

GROWTH = 0.05
"""A class is decided anew when its traces have grown by this share: so a log of n traces costs some log n decisions a class, not n."""
POOL_GROWTH = 0.25
"""What all other classes say is brought up to date when all traces have grown by this share: it is a prior of a few traces' weight."""


@dataclass(slots=True)
class Decided:
    """What was decided last for one class.

    Attributes:
        traces: of the class, by now.
        at: how many there were when it was decided.
        probabilities: of each arm; none where nothing was decided yet.
    """

    traces: int = 0
    at: int = 0
    probabilities: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_due(self) -> bool:
        """Whether it is time to decide anew."""
        return not self.probabilities or self.traces >= self.at + max(1, self.at * GROWTH)


class Hindsight:
    """A policy that is shown the log record by record.

    Args:
        settings: of routing; their `policy` is the one in question.
        spec: of the fold.
        classify: gives the class of a query, for traces that name none.

    Raises:
        SettingsError: on the first decision, where there is no such policy.
    """

    def __init__(self, settings: RoutingSettings, spec: FoldSpec, classify: Callable[[str], str]) -> None:
        self._settings, self._spec, self._classify = settings, spec, classify
        self._book, self._overrides = Book(settings, spec.id), Overrides(settings.arm_fields)
        self._states: dict[int, PartitionState] = {}
        self._unread: dict[int, list[Entry]] = defaultdict(list)
        self._decided: dict[str, Decided] = defaultdict(Decided)
        self._changed: dict[int, set[str]] = defaultdict(set)
        self._traces = self._pooled_at = 0

    def take(self, entry: Entry) -> None:
        """Take the next record."""
        self._unread[entry.partition].append(entry)
        if entry.kind is Kind.TRACE:
            self._traces += 1
            self._decided[entry.query_class].traces += 1

    def probabilities(self, query_class: str) -> Mapping[str, float]:
        """Return the policy's probability of each arm, from what it was shown; none where it knows no arm."""
        decided = self._decided[query_class]
        if decided.is_due:
            self._catch_up(query_class)
            update = decide(self._book.evidence(query_class), settings=self._settings, overrides=self._overrides)
            decided.probabilities = {arm.id: arm.probability for arm in update.arms}
            decided.at = decided.traces
        return decided.probabilities

    def _catch_up(self, query_class: str) -> None:
        """Fold what is unread, and tell the book of the class, or of all classes where it is time."""
        for number, entries in self._unread.items():
            self._fold(number, entries)
        self._unread.clear()
        everything = self._traces >= self._pooled_at * (1 + POOL_GROWTH)
        self._pooled_at = self._traces if everything else self._pooled_at
        for number, changed in self._changed.items():
            for name in set(changed) if everything else changed & {query_class}:
                self._book.learn(self._states[number].statistics(name))
                changed.discard(name)

    def _fold(self, number: int, entries: list[Entry]) -> None:
        state = self._states.setdefault(number, PartitionState(number, self._spec))
        first = state.position
        fold(state, [ArchivedRecord(first + place, entry.timestamp_ms, entry.key, entry.value, entry.headers) for place, entry in enumerate(entries)], self._classify)
        self._changed[number] |= state.take_changed_classes()
