"""Redaction: what has the form of a secret or of personal data is taken out, whatever else stands in a text stays as it is.

No secret stands here: each is drawn from its provider's alphabet, as the providers document their keys.
"""

from __future__ import annotations

import base64
import json
import random
import string
import sys
import time
from pathlib import Path

import pytest

from stream.archive.reader import ArchiveReader
from stream.cli.exporting import export
from stream.errors import MissingExtraError
from stream.learning.mining.export import Wanted, exported
from stream.learning.mining.redaction import Redactor
from tests.unit.archive_support import Log, filled, no_archive_left_open  # noqa: F401 - a fixture

RNG = random.Random(7)
LETTERS, HEX = string.ascii_letters + string.digits, "0123456789abcdef"


def drawn(count: int, alphabet: str = LETTERS) -> str:
    return "".join(RNG.choice(alphabet) for _ in range(count))


def coded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def pem(kind: str) -> str:
    return f"-----BEGIN {kind}PRIVATE KEY-----\n" + "\n".join(drawn(64) for _ in range(10)) + f"\n-----END {kind}PRIVATE KEY-----"


SECRETS = {
    "github": ("use {} to clone", "ghp_" + drawn(36)),
    "github fine-grained": ("{}", f"github_pat_11A{drawn(19)}_{drawn(59)}"),
    "openai": ("OPENAI_API_KEY={}", f"sk-proj-{drawn(74)}T3BlbkFJ{drawn(74)}"),
    "anthropic": ("key {} here", f"sk-ant-api03-{drawn(93)}AA"),
    "hugging face": ("{}", "hf_" + drawn(34, string.ascii_letters)),
    "google": ("?key={}&q=1", "AIzaSy" + drawn(33)),
    "slack": ("bot {}", f"xoxb-{drawn(12, string.digits)}-{drawn(12, string.digits)}-{drawn(24)}"),
    "stripe": ("charge with {}", "sk_live_" + drawn(24)),
    "gitlab": ("{}", "glpat-" + drawn(20)),
    "aws id": ("aws_access_key_id = {}", "AKIA" + drawn(16, string.ascii_uppercase + "234567")),
    "aws secret": ('aws_secret_access_key = "{}"', drawn(40)),
    "rsa": ("{}", pem("RSA ")),
    "openssh": ("{}", pem("OPENSSH ")),
    "key without an end": ("{}", pem("").rpartition("\n")[0]),
    "jwt": ("{}", ".".join(map(coded, (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890","name":"J D"}', drawn(32).encode())))),
    "bearer": ("curl -H 'Authorization: Bearer {}'", drawn(40)),
    "password in an address": ("postgres://admin:{}@db.example.com:5432/app", "s3cr3tPassw0rd"),
    "quoted password": ('password = "{}"', "hunter2hunter2"),
    "password of an environment": ("export DB_PASSWORD={}", "Tr0ub4dor&3"),
    "key in JSON": ('{{"api_key": "{}"}}', drawn(32, HEX)),
    "azure": ("AccountName=x;AccountKey={};EndpointSuffix=core", base64.b64encode(drawn(64).encode()).decode()),
}
PERSONAL = {
    "email": ["jane.doe+x@example.co.uk", "müller@büro.example.de", "x_1@mail.example.org"],
    "phone": ["+1 415 555 2671", "(415) 555-2671", "415-555-2671", "+49 30 901820", "+442079460958"],
    "card": ["4111 1111 1111 1111", "5555555555554444", "378282246310005", "6011-1111-1111-1117"],  # the schemes' published test numbers
    "iban": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"],  # the registry's examples
    "ssn": ["536-90-4399"],
}
UNTOUCHED = [
    "SELECT name, count(*) FROM users WHERE password IS NOT NULL AND email LIKE '%@gmail.com' AND id IN (212, 555, 1234);",
    "UPDATE accounts SET api_key = NULL, token = ? WHERE secret = 'none' AND phone <> ''",
    "def login(password: str, token=None) -> bool:\n    return check(password, token or os.environ['API_TOKEN'])",
    'password = getpass()\napi_key = settings.api_key\nurl = f"postgres://{user}:{password}@{host}/x"\n"postgres://user:password@host/db"',
    f"commit {drawn(40, HEX)} sha256:{drawn(64, HEX)} md5 {drawn(32, HEX)} 0x{drawn(64, HEX)}",
    "5b7f7c8e-3c64-4f1d-9d7e-2b1c9d6d9d3a 01HZX3K9Q2W8E7R6T5Y4V3J2N1",
    "3.141592653589793 -2147483648 1.234.567.890 100,000,000 1e-9 1700000000123 [4107320065, 3414372578] 4111111111111112",
    "2026-12-01T14:25:42.123456Z 127.0.0.1:9092 192.168.100.200 v1.2.3 git@github.com:owner/name.git",
    f"integrity sha512-{base64.b64encode(bytes(RNG.randrange(256) for _ in range(64))).decode()}",
    "gpt-4o-2024-08-06|react|v12 costs 4096 tokens; the token budget and the key are of class `code`",
    "docker pull repo/name@sha256:" + drawn(64, HEX),
    "", "a", "\ud800 alone", "ünïcödé 🎉 \0 text",
]  # fmt: skip


@pytest.fixture(scope="module")
def compiled() -> Redactor:
    return Redactor()


@pytest.fixture
def redactor(compiled: Redactor) -> Redactor:
    compiled.counts.clear()
    return compiled


@pytest.mark.parametrize("name", SECRETS)
def test_secret_is_taken_out_and_what_stands_around_it_stays(redactor: Redactor, name: str) -> None:
    """One is found, with the text before and after it as it was: behind text of other than one byte a sign, too."""
    around, secret = SECRETS[name]

    assert redactor.text("ünïcödé 🎉 " + around.format(secret)) == "ünïcödé 🎉 " + around.format("[secret]")
    assert redactor.counts == {"secret": 1}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts])
def test_personal_data_is_taken_out(redactor: Redactor, kind: str, text: str) -> None:
    """In a sentence, named by what it is."""
    assert redactor.text(f"It is {text}, they said.") == f"It is [{kind}], they said."
    assert redactor.counts == {kind: 1}


@pytest.mark.parametrize("text", UNTOUCHED)
def test_other_text_stays_byte_for_byte(redactor: Redactor, text: str) -> None:
    """Code, queries, hashes, numbers and identifiers are what agents work on: changed, they would teach nonsense."""
    assert redactor.text(text) == text
    assert not redactor.counts


def test_random_numbers_are_no_cards(redactor: Redactor) -> None:
    """Of 4,000 numbers of sixteen digits that begin as cards do, those whose check digit fits are taken out: a tenth, 400 ± 95 at five standard deviations."""
    rng = random.Random(3)
    numbers = [f"4{rng.randrange(10**15):015}" for _ in range(4_000)]

    taken = sum(redactor.text(number) != number for number in numbers)

    assert 305 <= taken <= 495


def test_redacted_text_is_redacted_no_further(redactor: Redactor) -> None:
    """A sample that goes through twice, as from one data set into the next, stays the same."""
    once = redactor.text("\n".join([*(around.format(secret) for around, secret in SECRETS.values()), *(text for texts in PERSONAL.values() for text in texts)]))
    redactor.counts.clear()

    assert redactor.text(once) == once
    assert not redactor.counts


def test_secret_is_taken_out_wherever_the_sample_repeats_it(redactor: Redactor) -> None:
    """A tool shows a key under its name; the answer quotes it without: both are the same secret."""
    secret = drawn(40)
    messages = [{"role": "tool", "content": f'aws_secret_access_key = "{secret}"'}, {"role": "assistant", "content": f"It is {secret}."}]

    clean = redactor.sample({"messages": messages})

    assert [message["content"] for message in clean["messages"]] == ['aws_secret_access_key = "[secret]"', "It is [secret]."]
    assert redactor.counts == {"secret": 2}


def test_arguments_of_a_call_stay_json(redactor: Redactor) -> None:
    """A number that is a card's becomes a text; what was found by its name stays found though the text is written anew."""
    arguments = json.dumps({"password": "hunter2hunter2", "card": 4111111111111111, "rows": [1, 2.5, True, None, "x"]})

    clean = redactor.sample({"messages": [{"tool_calls": [{"function": {"name": "pay", "arguments": arguments}}]}]})

    written = clean["messages"][0]["tool_calls"][0]["function"]
    assert written["name"] == "pay"
    assert json.loads(written["arguments"]) == {"password": "[secret]", "card": "[card]", "rows": [1, 2.5, True, None, "x"]}
    assert redactor.counts == {"secret": 1, "card": 1}


def test_text_cannot_say_that_it_is_to_be_passed_over(redactor: Redactor) -> None:
    """Scanners of code heed such comments; a trace is anybody's."""
    for comment in ("kingfisher:ignore", "gitleaks:allow", "pragma: allowlist secret"):
        assert "ghp_" not in redactor.text(f"token: {SECRETS['github'][1]}  # {comment}")


def test_telephone_numbers_of_a_region_are_known_by_setting() -> None:
    """Without one, only those with a country's code are."""
    assert Redactor(region="GB").text("020 7946 0958 and 415-555-2671") == "[phone] and 415-555-2671"
    assert Redactor(region="").text("(415) 555-2671 and +1 415 555 2671") == "(415) 555-2671 and [phone]"


@pytest.mark.parametrize("text", ["a@" * 50_000, "token=" * 16_000, "://a:" * 20_000, "AB12 " * 20_000, "5" * 100_000, "password" + " " * 100_000])
def test_hostile_text_takes_no_more_time_than_its_length_asks(redactor: Redactor, text: str) -> None:
    """A hundred kilobytes each: some tens of milliseconds, and minutes where a pattern went over a text again and again."""
    began = time.perf_counter()
    redactor.find(text)

    assert time.perf_counter() - began < 5


def test_missing_library_is_said_and_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for redaction and cannot have it gets no text at all."""
    monkeypatch.setitem(sys.modules, "kingfisher_sdk", None)

    with pytest.raises(MissingExtraError, match="kingfisher-secret-scanner"):
        Redactor()


# ---- of an export


def personal_log() -> Log:
    log = Log()
    for trace, result, score in (("good", "Write to jane@example.com.", 0.9), ("bad", "Write to john@example.com.", 0.1), ("worse", "Ask them.", 0.0)):
        log.trace(trace, query="Whom do I ask?" if trace != "worse" else "Whom?", result=result)
        log.feedback(trace, score)
    return log


async def test_export_is_redacted_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The file and the count; `--no-redact`, or the setting, leaves texts as they were published."""
    await filled(tmp_path, personal_log())
    monkeypatch.setenv("EDDY_DATA_DIR", str(tmp_path))
    path = tmp_path / "out.jsonl"
    for redact, setting, is_redacted in ((None, "1", True), (False, "1", False), (None, "0", False), (True, "0", True)):
        mail, counted = ("[email]", {"email": 1}) if is_redacted else ("jane@example.com", None)
        monkeypatch.setenv("EDDY_REDACT", setting)
        export(form="chat", output=path, agent=None, query_class=None, since="", split=None, min_quality=0.7, redact=redact, as_json=True)

        assert json.loads(path.read_text())["messages"][-1]["content"] == f"Write to {mail}."
        assert json.loads(capsys.readouterr().out)["redacted"] == counted


async def test_pair_that_differs_only_in_what_is_taken_out_is_none(tmp_path: Path, redactor: Redactor) -> None:
    """There would be nothing to prefer one answer for."""
    path = await filled(tmp_path, personal_log())

    with ArchiveReader(path) as reader:
        assert len(list(exported(reader, Wanted(form="preference")))) == 1
        assert list(exported(reader, Wanted(form="preference"), redactor=redactor)) == []
