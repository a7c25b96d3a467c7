"""Fingerprints of the methods overridden here, and of those that must go on calling them as they do.

A changed fingerprint says: read the upstream change, see whether the override still holds, then pin the new one.
"""

from __future__ import annotations

import hashlib
import inspect
from functools import reduce
from importlib import import_module
from typing import Any

PINS: dict[str, str] = {}


def fingerprint(path: str) -> str:
    """Hash the source of a function, given as `module:Class.method`."""
    module, _, name = path.partition(":")
    function: Any = reduce(getattr, name.split("."), import_module(module))
    return hashlib.sha256(inspect.getsource(inspect.unwrap(function)).encode()).hexdigest()[:16]


def changed() -> list[str]:
    """Name the pinned functions whose source is another than when the overrides were written."""
    return [path for path, pinned in PINS.items() if fingerprint(path) != pinned]
