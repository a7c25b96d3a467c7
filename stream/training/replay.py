"""Older pairs among the new ones, against forgetting; and which are held out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from stream.training.conversation import Conversation

LEAST_TO_HOLD_OUT = 20
"""With fewer pairs none is held out unasked: two pairs say nothing."""


def with_replay(pairs: Sequence[Mapping[str, Any]], older: Sequence[Mapping[str, Any]], *, share: float, rng: random.Random) -> list[Mapping[str, Any]]:
    """Return the new pairs, and as many older ones, drawn without replacement, that they are the given share of all.

    Args:
        pairs: new ones; all are kept.
        older: to draw from.
        share: in [0, 1).
        rng: draws.

    Example:
        >>> len(with_replay([{}] * 8, [{}] * 100, share=0.2, rng=random.Random(0)))
        10
    """
    wanted = round(len(pairs) * share / (1.0 - share))
    return [*pairs, *rng.sample(list(older), min(wanted, len(older)))]


def is_held_out(conversation: Conversation, share: float) -> bool:
    """Say on which side a conversation falls: by the hash of its query's words, so that no query is ever on both."""
    return int(conversation.query_id, 16) < share * 2**64
