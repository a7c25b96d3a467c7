"""Redaction: secrets and personal data are taken out of a sample before it leaves the archive for a data set.

What is found: keys and tokens of some hundred providers by the catalogue of Kingfisher; passwords, private keys, e-mail addresses, card and account
numbers by their form; telephone numbers by the plans of all countries. Names, postal addresses and what only its meaning gives away are not found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from stream.errors import MissingExtraError
from stream.learning.mining.patterns import EXAMPLES, PATTERNS, Found

LEAST = 6
"""Characters below which a text holds nothing that is looked for."""
KNOWN_FROM = 16
"""Characters from which a secret is taken out of the whole sample, wherever it stands again without what gave it away."""
_GROUPED = re.compile(r"\d[ ./()-]{1,3}\d{2,4}[ ./()-]{1,3}\d")
_ABROAD = re.compile(r"\+ ?\(?\d")


class Redactor:
    """Takes secrets and personal data out of samples, and counts them.

    Args:
        region: country, in two letters, whose telephone numbers are known without their country code; empty: of none.
        cache_dir: where the compiled catalogue is kept; the system's own place when not given. It takes some seconds to compile, once.

    Raises:
        MissingExtraError: what finds them is not installed.

    Attributes:
        counts: what was taken out, by kind: `secret`, `email`, `phone`, `card`, `iban`, `ssn`.
    """

    def __init__(self, *, region: str = "US", cache_dir: Path | None = None) -> None:
        self._provided, self._phones = _catalogue(cache_dir), _telephones(region)
        self.counts: Counter[str] = Counter()

    def text(self, text: str) -> str:
        """Write a text without them, each as its kind in brackets; a text that is JSON stays so."""
        return str(self.sample({"": text})[""])

    def sample(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Write a sample without them, all texts in it however deep; a secret found in one is taken out of all.

        Args:
            fields: of JSON values.
        """
        found = {text: self.find(text) for text in _texts(fields)}
        known = frozenset(text[start:end] for text, all_found in found.items() for start, end, kind in all_found if kind == "secret" and end - start >= KNOWN_FROM)
        return {name: _mapped(value, lambda text: self._without(text, known, found.get(text))) for name, value in fields.items()}

    def find(self, text: str) -> list[Found]:
        """Find what is to be taken out, in order; of what overlaps, the longer or earlier."""
        if len(text) < LEAST:
            return []
        lowered = text.lower()
        return _apart([*self._provided(text), *self._phones(text), *(found for pattern in PATTERNS for found in pattern.find(text, lowered))])

    def _without(self, text: str, known: frozenset[str], found: list[Found] | None = None) -> str:
        """Take out what was found, and what is known; found is looked for where it is not given: in parts of a text that is JSON."""
        found = _apart([*(self.find(text) if found is None else found), *_again(text, known)])
        written = _written(text, found)
        if found and text.lstrip()[:1] in ("{", "[") and (document := _json(text)) is not None and _json(written) is None:
            here = frozenset(text[start:end] for start, end, kind in found if kind == "secret" and end - start >= LEAST)
            return msgspec.json.encode(_mapped(document, lambda part: self._without(part, known | here))).decode()
        self.counts.update(kind for _, _, kind in found)
        return written


def _apart(found: list[Found]) -> list[Found]:
    """Make finds that overlap one: what is a secret, of any part, is one altogether; of other two the one that begins first stands, the longer where both do."""
    secrets: list[Found] = []
    for start, end, kind in sorted(each for each in found if each[2] == "secret"):
        if secrets and start < secrets[-1][1]:
            secrets[-1] = (secrets[-1][0], max(end, secrets[-1][1]), kind)
        else:
            secrets.append((start, end, kind))
    apart = secrets
    for each in sorted((each for each in found if each[2] != "secret"), key=lambda each: (each[0], -each[1])):
        if all(each[1] <= start or end <= each[0] for start, end, _ in apart):
            apart.append(each)
    return sorted(apart)


def _written(text: str, found: list[Found]) -> str:
    parts, place = [], 0
    for start, end, kind in found:
        parts += [text[place:start], f"[{kind}]"]
        place = end
    return "".join([*parts, text[place:]])


def _again(text: str, known: frozenset[str]) -> Iterator[Found]:
    for secret in known:
        place = text.find(secret)
        while place >= 0:
            yield place, place + len(secret), "secret"
            place = text.find(secret, place + len(secret))


def _json(text: str) -> Any:
    """Read JSON; None where it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Change all texts of a JSON value, and the whole numbers that read as what is taken out of texts."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _mapped(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_mapped(part, change) for part in value]
    if isinstance(value, int) and not isinstance(value, bool) and (written := change(str(value))) != str(value):
        return written
    return value


def _catalogue(cache_dir: Path | None) -> Callable[[str], Iterator[Found]]:
    """Find providers' keys; nothing leaves the machine, and no comment in a text can say that it is to be passed over."""
    try:
        from kingfisher_sdk import Rules, Scanner
    except ImportError as exc:
        raise _missing("kingfisher-secret-scanner") from exc
    scan = Scanner(Rules(cache_dir=None if cache_dir is None else str(cache_dir)), base64=False).scan

    def find(text: str) -> Iterator[Found]:
        data = text.encode(errors="surrogatepass")
        for finding in scan(data):
            start, end = (_characters(data, finding.location[name]) for name in ("start_offset", "end_offset"))
            if text[start:end] not in EXAMPLES:
                yield start, end, "secret"

    return find


def _characters(data: bytes, offset: int) -> int:
    return len(data[:offset].decode(errors="surrogatepass"))


def _telephones(region: str) -> Callable[[str], Iterator[Found]]:
    """Find telephone numbers: those with a country's code, and those of one country that are written in groups."""
    try:
        from phonenumbers import SUPPORTED_REGIONS, Leniency, PhoneNumberMatcher
    except ImportError as exc:
        raise _missing("phonenumberslite") from exc
    known = region.upper() if region.upper() in SUPPORTED_REGIONS else None

    def find(text: str) -> Iterator[Found]:
        if not _ABROAD.search(text) and (known is None or not _GROUPED.search(text)):
            return
        for match in PhoneNumberMatcher(text, known, leniency=Leniency.STRICT_GROUPING):
            if _ABROAD.match(match.raw_string) or _GROUPED.search(match.raw_string):
                yield match.start, match.end, "phone"

    return find


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(f"redaction needs the package {package}, but it is not installed; run `pip install 'eddy-loop[worker]'`, or set EDDY_REDACT=0")
