"""How deep a record may nest: decided by its bytes alone."""

from __future__ import annotations

import re
from itertools import accumulate

from stream.errors import MalformedRecordError

DEPTH_MAX = 500
"""Brackets inside brackets. Python's own limit is another one in every version and at every depth of the caller's stack, and what one
process reads and another refuses would make two states of one log."""
ARRAY_BYTES, OBJECT_BYTES = 2, 5
"""What one level of nesting takes at least: `[]` and `{"":}`."""
SAFE_BYTES = ARRAY_BYTES * DEPTH_MAX
"""Up to here a record cannot be too deep."""


def may_be_deep(value: bytes) -> bool:
    """Whether a record has so many brackets that they may stand `DEPTH_MAX` inside each other; usually the few of arrays alone say no.

    Counted with `replace`, which jumps from one to the next; `count` looks at every byte.
    """
    arrays = len(value) - len(value.replace(b"[", b""))
    if arrays + (len(value) - ARRAY_BYTES * arrays) // OBJECT_BYTES <= DEPTH_MAX:
        return False
    return arrays + len(value) - len(value.replace(b"{", b"")) > DEPTH_MAX


_STRING = re.compile(rb'"(?:[^"\\]+|\\.?)*"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)).difference(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def check_depth(value: bytes) -> None:
    """Refuse what has too many brackets inside brackets; those in strings are none.

    Raises:
        MalformedRecordError: `not_json`.
    """
    brackets = _STRING.sub(b"", value).translate(None, _NO_BRACKETS)
    depth = max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)
    if depth > DEPTH_MAX:
        raise MalformedRecordError("not_json", f"the record has brackets {depth} deep, but at most {DEPTH_MAX} are read")
