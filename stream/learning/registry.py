"""Registries by name: of models and their sizes, of router policies, of learning policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")


class RegistryBase(Generic[T]):
    """Entries by key, one dictionary a subclass."""

    _entries: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._entries = {}

    @classmethod
    def register(cls, key: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates.

        Raises:
            ValueError: the key is taken.
        """

        def decorate(entry: T) -> T:
            cls.register_value(key, entry)
            return entry

        return decorate

    @classmethod
    def register_value(cls, key: str, value: T) -> T:
        """Register an entry.

        Raises:
            ValueError: the key is taken.
        """
        if key in cls._entries:
            raise ValueError(f"{cls.__name__} already has an entry for {key!r}, but a key names one; choose another, or clear() first")
        cls._entries[key] = value
        return value

    @classmethod
    def get(cls, key: str) -> T:
        """Return an entry.

        Raises:
            KeyError: there is none of that key.
        """
        if key not in cls._entries:
            raise KeyError(f"{cls.__name__} does not have an entry for {key!r}, but for {sorted(cls._entries)}; register it first")
        entry: T = cls._entries[key]
        return entry

    @classmethod
    def create(cls, key: str, *args: Any, **kwargs: Any) -> Any:
        """Call an entry.

        Raises:
            KeyError: there is none of that key.
            TypeError: it cannot be called.
        """
        entry = cls.get(key)
        if not callable(entry):
            raise TypeError(f"the entry {key!r} of {cls.__name__} is a {type(entry).__name__}, but only what can be called can be created; use get()")
        return entry(*args, **kwargs)

    @classmethod
    def items(cls) -> tuple[tuple[str, T], ...]:
        """Return keys and entries."""
        return tuple(cls._entries.items())

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Return the keys."""
        return tuple(cls._entries)

    @classmethod
    def contains(cls, key: str) -> bool:
        """Whether there is an entry."""
        return key in cls._entries

    @classmethod
    def clear(cls) -> None:
        """Forget all entries."""
        cls._entries.clear()


@dataclass(slots=True)
class ModelSpec:
    """What is known of a model.

    Attributes:
        model_id: its key.
        name: for people.
        parameter_count_b: total parameters, in billions; 0 is unknown.
        context_length: tokens; 0 is unknown.
        active_parameter_count_b: parameters that a token uses, in billions, of a mixture of experts.
        quantization: as are the fields below, carried for whoever registers models with them; nothing here looks at it.
        min_vram_gb: that it needs.
        supported_engines: that can run it.
        provider: that sells it.
        requires_api_key: whether it does.
        metadata: whatever else.
    """

    model_id: str
    name: str = ""
    parameter_count_b: float = 0.0
    context_length: int = 0
    active_parameter_count_b: float | None = None
    quantization: str = "none"
    min_vram_gb: float = 0.0
    supported_engines: Sequence[str] = ()
    provider: str = ""
    requires_api_key: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


class ModelRegistry(RegistryBase[ModelSpec]):
    """Models by their ids."""


class RouterPolicyRegistry(RegistryBase[Any]):
    """Classes of router policies by their names."""


class LearningRegistry(RegistryBase[Any]):
    """Classes of learning policies by their names."""
