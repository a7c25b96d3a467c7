"""Overrides: an operator's word over what is learned.

Withdrawing outranks pinning, pinning outranks freezing, freezing outranks the policy; a word on one class outranks the same on all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stream.records import ANY_CLASS, Arm, Override, is_trial
from stream.routing.canaries import Canary, is_of
from stream.routing.registry import policies
from stream.routing.settings import RoutingSettings, project

CONCERNED = ("pin", "freeze", "withdraw", "rollout", "policy", "canary")

CANARY_FIELDS = frozenset({"agent", "config_version"})
"""Fields of an arm that must be routed over for a canary to be an arm of its own."""
MOST_CANARY = 0.05
"""Greatest share of an agent's requests that a canary may get, whoever asks."""


class Overrides:
    """What stands on `eddy.overrides`, as far as routing obeys it.

    Args:
        arm_fields: the fields of an arm that are routed over.
        pool_of: names the class whose words hold for a class too, besides `*`: its tenant's, where tenants are kept apart.
    """

    def __init__(self, arm_fields: tuple[str, ...], pool_of: Callable[[str], str] = lambda _: ANY_CLASS) -> None:
        self._fields, self._pool_of = arm_fields, pool_of
        self._standing: dict[str, Override] = {}

    def put(self, key: str, override: Override | None) -> str | None:
        """Take a word, or its tombstone.

        Returns:
            The class whose routing it may change (`*`: any), or None where routing does not care.
        """
        before = self._standing.pop(key, None)
        if override and override.kind in CONCERNED:
            self._standing[key] = override
        concerned = [word.query_class for word in (before, self._standing.get(key)) if word]
        return None if not concerned else concerned[0] if len(set(concerned)) == 1 else ANY_CLASS

    def pin(self, query_class: str) -> Arm | None:
        """The arm, by its routed fields, that the class is pinned to."""
        word = self._on("pin", query_class)
        return project(word.arm, self._fields) if word and word.arm else None

    def is_frozen(self, query_class: str) -> bool:
        """Whether the class's probabilities are to stay."""
        return self._on("freeze", query_class) is not None

    def rollout(self, query_class: str) -> float | None:
        """Share of the class's requests, in [0, 1], that may follow what is learned; None where nothing is said."""
        word = self._on("rollout", query_class)
        return min(max(word.share, 0.0), 1.0) if word and word.share is not None else None

    def with_policy(self, settings: RoutingSettings, query_class: str) -> RoutingSettings:
        """The settings that hold for the class: with the policy that a word names, where there is such a policy."""
        word = self._on("policy", query_class)
        return replace(settings, policy=word.policy) if word and word.policy and word.policy in policies() else settings

    def is_withdrawn(self, query_class: str, arm: Arm) -> bool:
        """Whether the arm may not serve the class. A version on trial serves as a canary, or not at all.

        A withdrawn arm's empty fields stand for any; fields that are not routed over cannot be told apart, so that withdrawing
        `gpt-4|react` where only models are routed withdraws `gpt-4`: nothing that was withdrawn may serve.
        """
        if is_trial(arm.config_version) and not is_of(arm, self.canaries(query_class)):
            return True
        return any(self._matches(word.arm, arm) for word in self._of("withdraw", query_class) if word.arm)

    def canaries(self, query_class: str) -> list[Canary]:
        """The canaries of a class that can be told apart from what they are held against, the newest of each agent: agent and version of its configuration, with its share."""
        if not set(self._fields) >= CANARY_FIELDS:
            return []
        words = sorted(self._of("canary", query_class), key=lambda word: (word.given_at, word.key))
        newest = {word.arm.agent: (word.arm, word.share or 0.0) for word in words if word.arm is not None and word.arm.agent and word.arm.config_version}
        return [(arm, min(max(share, 0.0), MOST_CANARY)) for arm, share in newest.values()]

    def named_classes(self) -> set[str]:
        """The classes that have a word of their own."""
        return {word.query_class for word in self._standing.values() if word.query_class != ANY_CLASS}

    def standing(self, query_class: str) -> list[Override]:
        """The words that hold for a class."""
        return [word for kind in CONCERNED for word in self._of(kind, query_class)]

    def _of(self, kind: str, query_class: str) -> list[Override]:
        return [word for word in self._standing.values() if word.kind == kind and word.query_class in (query_class, self._pool_of(query_class), ANY_CLASS)]

    def _on(self, kind: str, query_class: str) -> Override | None:
        narrower = (query_class, self._pool_of(query_class), ANY_CLASS)
        words = sorted(self._of(kind, query_class), key=lambda word: narrower.index(word.query_class))
        return words[0] if words else None

    def _matches(self, withdrawn: Arm, arm: Arm) -> bool:
        named = [field for field in self._fields if getattr(withdrawn, field)]
        return bool(named) and all(getattr(withdrawn, field) == getattr(arm, field) for field in named)
