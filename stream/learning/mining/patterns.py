"""Secrets and personal data that are known by their form alone: each a pattern that takes time in proportion to the text, and a check where there is one.

They stand beside the catalogue of providers' keys that `stream.learning.mining.redaction` takes from a library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Found = tuple[int, int, str]
"""Where something stands in a text, from and up to, and its kind."""


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others.

    Source: ISO/IEC 7812-1, annex B.

    Example:
        >>> luhn("4111111111111111"), luhn("4111111111111112")
        (True, False)
    """
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """Whether an account number's check digits fit it.

    Source: ISO 13616-1, modulo 97 as of ISO 7064.

    Example:
        >>> is_iban("DE89 3704 0044 0532 0130 00"), is_iban("DE88 3704 0044 0532 0130 00")
        (True, False)
    """
    packed = text.replace(" ", "")
    return 15 <= len(packed) <= 34 and int("".join(str(int(sign, 36)) for sign in packed[4:] + packed[:4])) % 97 == 1


def _is_mixed(text: str) -> bool:
    """Whether there are letters and digits: a word alone is hardly a password, and a number alone is one of many."""
    return any(map(str.isalpha, text)) and any(map(str.isdigit, text))


def _is_dense(text: str) -> bool:
    """Whether there are small letters, capitals and digits, as in a password and hardly in a name of a program."""
    return _is_mixed(text) and any(map(str.islower, text)) and any(map(str.isupper, text))


@dataclass(frozen=True, slots=True)
class Pattern:
    """Something that is known by its form.

    Attributes:
        kind: what it is.
        expression: of it; where it has a group named `it`, that is what is found.
        signs: of which a text has one at the least, in small letters, or nothing is looked for: that is quick to see.
        holds: says of a find whether it is one.
    """

    kind: str
    expression: re.Pattern[str]
    signs: tuple[str, ...]
    holds: Callable[[str], bool] = bool

    def find(self, text: str, lowered: str) -> Iterator[Found]:
        """Find them all in a text, which is given in small letters too."""
        if not any(sign in lowered for sign in self.signs):
            return
        for match in self.expression.finditer(text):
            group = "it" if "it" in self.expression.groupindex else 0
            if self.holds(match.group(group)):
                yield (*match.span(group), self.kind)


_WORDS = ("pass", "pwd", "secret", "token", "credential", "key")
_NAMES = r"(?:password|passwd|passphrase|pwd|secret|token|credential|(?:api|access|account|private|secret|auth)[_-]?key)"
_ASSIGNED = rf"(?i:{_NAMES})[\"']?[ \t]{{0,4}}(?::=|=>|=|:)[ \t]{{0,4}}"
"""A name that says what its value is, and what sets it."""
_VALUE = r"[^\s\"'/@$<{%*\[#]"
"""How what is set begins: what begins like a field of a template is none."""
_PEM = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?"
EXAMPLES = frozenset({"pass", "password", "passwd", "pwd", "secret"})
"""What documents write in the place of a password."""
_DIGITS = tuple("0123456789")

PATTERNS = (
    Pattern("secret", re.compile(rf"-----BEGIN {_PEM}-----.*?(?:-----END {_PEM}-----|\Z)", re.DOTALL), ("-----begin",)),
    Pattern("secret", re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"), ("akia", "asia")),
    Pattern("secret", re.compile(r"\b(?i:bearer|basic)[ \t]{1,4}(?P<it>[A-Za-z0-9._~+/-]{20,4096}={0,2})"), ("bearer ", "basic "), _is_mixed),
    Pattern("secret", re.compile(r"\bAIza[\w-]{35}(?![\w-])"), ("aiza",)),
    Pattern("secret", re.compile(rf"://[^\s/:@\"'<>]{{0,100}}:(?P<it>{_VALUE}[^\s/@\"']{{0,200}})@"), ("://",), lambda text: text not in EXAMPLES),  # in an address
    Pattern("secret", re.compile(rf"{_ASSIGNED}\"(?P<it>{_VALUE}[^\"'\s]{{5,200}})\""), _WORDS, _is_mixed),
    Pattern("secret", re.compile(rf"{_ASSIGNED}'(?P<it>{_VALUE}[^\"'\s]{{5,200}})'"), _WORDS, _is_mixed),
    Pattern("secret", re.compile(_ASSIGNED + r"(?P<it>[A-Za-z0-9!@#%^&*_+~/=-]{8,200})(?=[\s,;\"'.]|$)", re.MULTILINE), _WORDS, _is_dense),
    Pattern("email", re.compile(r"(?<![\w.+-])(?!git@)\w[\w.+-]{0,63}@(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_]{2,24}\b"), ("@",)),
    Pattern("card", re.compile(r"(?<![\w.-])(?:4\d|5[1-5]|2[2-7]|6\d|35)\d\d([ -]?)\d{4}\1\d{4}\1\d{4}(?![\w-]|\.\d)"), _DIGITS, lambda text: luhn(_digits(text))),
    Pattern("card", re.compile(r"(?<![\w.-])3[47]\d\d([ -]?)\d{6}\1\d{5}(?![\w-]|\.\d)"), _DIGITS, lambda text: luhn(_digits(text))),
    Pattern("iban", re.compile(r"(?<![\w-])[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w-])"), _DIGITS, is_iban),
    Pattern("ssn", re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-]|\.\d)"), _DIGITS),
)
"""What is looked for. No expression repeats what it repeats, and every run has an end: a text of any form costs time in proportion to its length."""


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
