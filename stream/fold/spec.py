"""What makes two folds differ: a change of any of it folds the retained log anew, under another id."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias

from stream.reading.reward import QUALITY

FOLD_VERSION = 3
"""Version of the fold's code; raised whenever the golden log in `tests/golden` folds to another state."""


Silence: TypeAlias = Literal["unknown", "failure"]
"""What a decision counts as whose trace does not come in time."""


class FoldSettings(Protocol):
    """The settings that a fold is specified by; `stream.settings.Settings` has them."""

    partitions: int
    horizon: int
    max_classes: int
    max_arms: int
    keep_minutes: int
    keep_hours: int
    keep_days: int
    classifier: str
    max_record_bytes: int
    silence: Silence
    silence_s: int
    reward: str

    @property
    def reward_without(self) -> tuple[str, ...]:
        """Quantities that stand under a ceiling and have left the reward."""

    @property
    def tenants(self) -> str:
        """`shared` or `apart`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSpec:
    """All that makes two folds differ.

    Attributes:
        partitions: how many the log has; a record's key says which one it belongs to.
        horizon: entries of a partition's join index.
        max_classes: query classes kept apart; what is beyond goes to the overflow class.
        max_arms: arms kept apart in one class; what is beyond goes to the overflow arm.
        keep_minutes: minutes kept apart before they are merged into their hour.
        keep_hours: hours kept apart before they are merged into their day.
        keep_days: days kept before they are dropped.
        classifier: name of the classifier for traces that name no class.
        max_record_bytes: size above which a record is refused.
        tenants: `shared`, or `apart`: a tenant's classes are then classes of their own.
        reward: name of the reward; `quality` is the score alone.
        reward_without: quantities that have left the seed's reward, since they stand under a ceiling.
        silence: what a decision counts as whose trace does not come in time.
        silence_s: how long a trace may come after its decision, in seconds of the log's time.
    """

    partitions: int
    horizon: int
    max_classes: int
    max_arms: int
    keep_minutes: int
    keep_hours: int
    keep_days: int
    classifier: str
    max_record_bytes: int
    tenants: str = "shared"
    reward: str = QUALITY
    reward_without: tuple[str, ...] = ()
    silence: Silence = "unknown"
    silence_s: int = 600

    @property
    def keeps_tenants_apart(self) -> bool:
        """Whether a tenant's classes are classes of their own."""
        return self.tenants == "apart"

    @property
    def id(self) -> str:
        """Twelve hex digits over all fields and the version of the fold's code."""
        return _digest(self)

    @classmethod
    def of(cls, settings: FoldSettings) -> FoldSpec:
        """Take what specifies the fold out of a deployment's settings."""
        return cls(**{name: getattr(settings, name) for name in cls.__slots__})


@lru_cache(maxsize=16)
def _digest(spec: FoldSpec) -> str:
    return hashlib.sha256(repr((FOLD_VERSION, *astuple(spec))).encode()).hexdigest()[:12]
