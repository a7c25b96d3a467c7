"""Features of a query's text: what a contextual policy knows of a request before it is served; cheap, and without any model."""

from __future__ import annotations

import hashlib
import math
import re
from functools import lru_cache
from zlib import crc32

FLAGS = 10
WORDS = 54
DIMENSION = FLAGS + WORDS
SPECIFICATION = f"text-{FLAGS}-{WORDS}-2"
"""Named in every model: a router that computes other features does not use it. The last number is the version of this module, and of what weights mean."""
FEATURE_HASH = hashlib.sha256(SPECIFICATION.encode()).hexdigest()[:12]
TOKEN_CHARACTERS = 24
READ_CHARACTERS = 2_000
"""Of a query's beginning, as much again of its end: what is asked stands in one of them."""
WORD_SCALE = 0.7
"""Length of the vector of words beside flags of about 1: words say less, each, and are many."""

_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_CODE = re.compile(r"```|\bdef |\bfunction\b|\bclass \w+[:({]|\bimport \w|\breturn\b|\bassert\b|[;{}]\s*$|\bSELECT\b.{1,100}\bFROM\b", re.MULTILINE)
_MATHS = re.compile(r"\\\w+\{|\$[^$]+\$|\d\s*[-+*/^=]\s*\d|\b(?:solve|integral|equation|derivative|probability|percent|how many|how much|total|sum)\b", re.IGNORECASE)
_CHOICES = re.compile(r"^\s*\(?[A-Da-d1-4][.):]", re.MULTILINE)


def features(query: str) -> list[float]:
    """Describe a query.

    Returns:
        `DIMENSION` numbers: ten of length, form and kind, each about between -1 and 1; then signed sums over the different words, each
        hashed to one of 54 places, as a vector of length `WORD_SCALE` or 0.

    Source: K. Weinberger et al., Feature hashing for large scale multitask learning, ICML 2009, for the signs.

    Example:
        >>> x = features("How many primes are below 100?")
        >>> len(x), x[4], x[5]                     # maths; a question
        (64, 1.0, 1.0)
    """
    text = query if len(query) <= 2 * READ_CHARACTERS else f"{query[:READ_CHARACTERS]}\n{query[-READ_CHARACTERS:]}"
    tokens = _TOKEN.findall(text.lower())
    return _flags(query, text, tokens) + _words(tokens)


def _flags(query: str, text: str, tokens: list[str]) -> list[float]:
    size = max(len(text), 1)
    lines = text.count("\n")
    digits = sum(len(token) for token in tokens if token[0].isdigit())
    return [
        math.log1p(len(query)) / 5.0 - 1.0,
        min(len(tokens) / 100.0, 2.0) - 0.5,
        min(sum(map(len, tokens)) / max(len(tokens), 1) / 5.0, 2.0) - 1.0,
        1.0 if _CODE.search(text) else 0.0,
        1.0 if _MATHS.search(text) else 0.0,
        1.0 if "?" in text[-40:] else 0.0,
        min(len(_CHOICES.findall(text)) / 4.0, 1.0),
        min(lines / 20.0, 1.0),
        min(5.0 * digits / size, 1.0),
        min(5.0 * sum(map(text.count, "()[]{}<>=_\\")) / size, 1.0),
    ]


def _words(tokens: list[str]) -> list[float]:
    vector = [0.0] * WORDS
    for token in set(tokens):
        place, sign = _place(token[:TOKEN_CHARACTERS] if not token[0].isdigit() else "0")
        vector[place] += sign
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value * WORD_SCALE / length for value in vector] if length else vector


@lru_cache(maxsize=65_536)
def _place(token: str) -> tuple[int, float]:
    hashed = crc32(token.encode("utf-8", "surrogatepass"))
    return hashed % WORDS, 1.0 if hashed >> 31 else -1.0
