"""Which arm each session was first given, for as many sessions as are remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict

from stream.records import Arm

MAX_SESSIONS = 10_000
"""Sessions remembered, the least recently used leave first: some 2 MB."""


class Sessions:
    """A bounded memory of sessions; hold `lock` from `get` to `put` so that a session has one first arm.

    Args:
        max_sessions: how many are remembered.
    """

    def __init__(self, max_sessions: int = MAX_SESSIONS) -> None:
        self.lock = threading.Lock()
        self._max_sessions = max_sessions
        self._arms: OrderedDict[str, Arm] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arms)

    def get(self, session_id: str) -> Arm | None:
        """Give a session's arm and note that it was used."""
        if (arm := self._arms.get(session_id)) is not None:
            self._arms.move_to_end(session_id)
        return arm

    def put(self, session_id: str, arm: Arm) -> None:
        """Remember a session's arm."""
        self._arms[session_id] = arm
        self._arms.move_to_end(session_id)
        if len(self._arms) > self._max_sessions:
            self._arms.popitem(last=False)
