"""Keeps the client's logging to one line a minute for each kind of trouble, its broker library's included.

aiokafka says ten times a second that a broker is away. Only what it logs on behalf of Eddy's clients is thinned: their
tasks carry a mark, which the tasks that aiokafka starts inherit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar

INTERVAL_S = 60.0
"""Least time between two lines of one kind: the client's promise to the service that it lives in."""
KINDS_MAX = 256
"""Kinds remembered; beyond them all are forgotten, which costs a line too many."""
LOGGERS = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.consumer.subscription_state",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)
EXPECTED = ("Unexpected error during InitProducerIdRequest", "Unclosed AIOKafka")
"""How the embedded broker's lack of idempotent producers reads; the client asks for one first and then goes without."""

_OURS: ContextVar[bool] = ContextVar("eddy_client", default=False)


class Throttle:
    """Lets one message of a kind through in a minute, and says with the next how many it held back.

    Args:
        log: where the messages go.
        clock: monotonic seconds.
    """

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._due: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def warning(self, kind: str, message: str, *args: object) -> None:
        """Log a warning, unless one of its kind was logged less than a minute ago."""
        if self.admits(kind):
            held = self._held.pop(kind, 0)
            self._log.warning(message + (f" (and {held} more like it since the last line)" if held else ""), *args)
        else:
            self._held[kind] = self._held.get(kind, 0) + 1

    def admits(self, kind: str) -> bool:
        """Say whether a message of this kind may be logged now, and take note if so."""
        now = self._clock()
        if now < self._due.get(kind, now):
            return False
        if len(self._due) >= KINDS_MAX:
            self._due.clear()
        self._due[kind] = now + INTERVAL_S
        return True


class OncePerMinute(logging.Filter):
    """Drops what aiokafka repeats within a minute for one of Eddy's clients; what it says for others passes."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle(logging.getLogger(__name__))

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record passes."""
        if not _OURS.get() or record.levelno < logging.WARNING:
            return True
        return not str(record.msg).startswith(EXPECTED) and self._throttle.admits(f"{record.name}/{record.msg}")


_FILTER = OncePerMinute()


def quiet_this_task() -> None:
    """Thin what aiokafka logs for the running task and the tasks that it starts."""
    _OURS.set(True)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
