"""Which evidence may be used for what: every query, or session, belongs to one of three splits, and no query stands on two sides."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Literal

Split = Literal["train", "tune", "test"]
TRAIN_SHARE, TUNE_SHARE = 0.6, 0.2
"""The rest is for testing."""


def normalised(query: str) -> str:
    """Write a query so that those which differ only in case, spaces or how characters are encoded are one.

    Example:
        >>> normalised("  What is  ﬁve   plus FIVE? ")
        'what is five plus five?'
    """
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def split_of(query: str, session_id: str = "") -> Split:
    """Say which split a trace belongs to: by its session, where it has one, since its queries lean on each other; else by its query, never by its id.

    Example:
        >>> split_of("What is five?") == split_of(" what is FIVE? ")
        True
        >>> split_of("a", "s1") == split_of("b", "s1")
        True
    """
    name = f"session {session_id}" if session_id else f"query {normalised(query)}"
    place = int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8]) / 2**64
    return "train" if place < TRAIN_SHARE else "tune" if place < TRAIN_SHARE + TUNE_SHARE else "test"
