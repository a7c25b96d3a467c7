"""The command line without a broker: one sentence for each thing that is missing, and no traceback."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stream.cli import main
from stream.cli.common import plain, table_of
from stream.cli.running import with_free_ports
from stream.settings import load

NOBODY = "127.0.0.1:1"
"""An address where nothing answers: port 1 is reserved and never lent out."""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDDY_BOOTSTRAP", NOBODY)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    code = exit_.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("routes",),
        ("routes", "--json"),
        ("routes", "explain", "code"),
        ("publish", "--example"),
        ("feedback", "t1", "0.5"),
        ("forget", "t1"),
        ("pin", "code", "m"),
        ("unpin", "code"),
        ("withdraw", "m|a"),
        ("restore", "m|a"),
        ("freeze", "*"),
        ("unfreeze", "*"),
        ("rollout", "1"),
        ("dead-letters", "list"),
        ("dead-letters", "show", "0/0"),
        ("dead-letters", "replay", "--all"),
        ("rebuild",),
    ],
)
def test_command_says_one_sentence_when_no_broker_answers(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Someone who forgot to start a broker reads what to do, not a traceback, and a script sees status 1."""
    code = run(*arguments)

    said = capsys.readouterr()
    assert code == 1
    assert said.out == ""
    assert said.err == f"eddy: no Kafka broker answers at {NOBODY}, but this needs one; start `eddy up`, or set EDDY_BOOTSTRAP to the address of yours\n"


def test_doctor_goes_on_without_a_broker_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """The doctor is for when something is missing: it reports the broker and everything that can be seen without it."""
    code = run("doctor", "--json")

    report = json.loads(capsys.readouterr().out)
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert code == 1
    assert report["ok"] is False
    assert states["broker"] == "error"
    assert states["data folder"] == "ok"


@pytest.mark.parametrize("name", ["traces.jsonl", "-"])
def test_publishing_a_file_without_a_broker_blames_the_broker(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that fails is an error of the operating system too, but the file is good."""
    (tmp_path / "traces.jsonl").write_text('{"trace_id": "t"}\n')

    assert run("publish", name) == 1

    assert capsys.readouterr().err == f"eddy: no Kafka broker answers at {NOBODY}, but this needs one; start `eddy up`, or set EDDY_BOOTSTRAP to the address of yours\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("publish",), "give FILE or --example"),
        (("publish", "there-is-none.jsonl"), "cannot be read"),
        (("pin", "code", ""), "names nothing"),
        (("withdraw", " | "), "names nothing"),
        (("pin", "code", "a|b|c|d|e"), "an arm is MODEL|AGENT|CONFIG_VERSION|ADAPTER"),
        (("feedback", "t1", "0.5", "--kind", "alien"), "human, judge or program"),
        (("feedback", "", "0.5"), "bad_trace_id"),
        (("rollout", "0"), "write `observe`"),
        (("routes", "--tenant", "acme"), "EDDY_TENANTS=apart keeps them apart"),
        (("rollout", "0.05"), "set EDDY_DEFAULT_ARM"),
        (("dead-letters", "replay"), "--all"),
    ],
)
def test_command_says_what_is_wrong_with_its_arguments(arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant is refused before a broker is asked."""
    code = run(*arguments)

    said = capsys.readouterr().err
    assert code == 1
    assert sentence in said
    assert said.count("\n") == 1


def test_settings_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong variable in the environment is named, not shown as a traceback of the settings library."""
    monkeypatch.setenv("EDDY_PARTITIONS", "many")

    assert run("routes") == 1

    assert "EDDY_PARTITIONS" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "worker", "learner", "rebuild"])
@pytest.mark.parametrize(("variable", "known"), [("EDDY_POLICY", "routing knows thompson, contextual, epsilon_greedy"), ("EDDY_CLASSIFIER", "['seed'")])
def test_process_is_refused_a_name_that_nothing_stands_behind(command: str, variable: str, known: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker would end on it and be started again for ever; the operator reads at once what there is."""
    monkeypatch.setenv(variable, "there-is-none")

    assert run(command) == 1

    said = capsys.readouterr().err
    assert known in said
    assert said.count("\n") == 1


def test_doctor_names_settings_that_do_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error looks like a setting that works; the tests' own variables are none."""
    for name in ("EDDY_PARTITION", "EDDY_TEST_BROKER", "EDDY_DATA"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("EDDY_POLICY", "there-is-none")

    run("doctor", "--json")

    found = [(check["state"], check["said"].split()[0]) for check in json.loads(capsys.readouterr().out)["checks"] if check["name"] == "settings"]
    assert found == [("error", "policy"), ("warning", "EDDY_PARTITION")]


@pytest.mark.parametrize("content", [b"partitions = = 4", b"\xff\xfe"])
def test_file_of_settings_that_is_not_toml_is_named(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip in the file ends every command; it must say which file, not show the parser's traceback."""
    (tmp_path / "eddy.toml").write_bytes(content)

    assert run("routes") == 1

    assert "eddy.toml cannot be read" in capsys.readouterr().err


def test_port_of_nought_is_a_free_one_that_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`eddy up` prints the page's address before its server runs: 0 would be no address."""
    settings, environment = with_free_ports(load(worker_port=0, learner_port=0))

    assert 0 not in (settings.worker_port, settings.learner_port)
    assert environment == {"EDDY_LEARNER_PORT": str(settings.learner_port), "EDDY_WORKER_PORT": str(settings.worker_port)}
    assert capsys.readouterr().out == ""


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An installation without Faust runs every other command, and says how to get the worker."""
    monkeypatch.setitem(sys.modules, "faust", None)
    for name in [name for name in sys.modules if name == "stream.app" or name.startswith("stream.transport")]:
        monkeypatch.delitem(sys.modules, name)

    assert run("worker") == 1

    assert capsys.readouterr().err == "eddy: the package faust is not installed, but this command needs it; run `pip install 'eddy-loop[worker]'`\n"


def test_help_loads_neither_faust_nor_kafka() -> None:
    """`eddy --help` answers at once on the lightest installation."""
    script = "import sys, stream.cli; print([name for name in ('faust', 'mode', 'aiokafka', 'aiohttp', 'pydantic', 'torch') if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])

    assert loaded.stdout.strip() == "[]"


def test_init_writes_settings_that_load_and_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The template is a working file, and a second call keeps what was edited."""
    assert run("init") == 0
    load()
    before = (tmp_path / "eddy.toml").read_text()

    assert run("init") == 1

    assert (tmp_path / "eddy.toml").read_text() == before
    assert "--force" in capsys.readouterr().err


def test_settings_find_the_broker_that_up_left_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine nobody has to copy an address; a named broker outranks the remembered one."""
    from stream.cli.common import load_settings
    from stream.client.connection import settings_of

    (tmp_path / ".eddy").mkdir()
    (tmp_path / ".eddy" / "broker.json").write_text('{"port": 23456}')
    assert load_settings().bootstrap == NOBODY

    monkeypatch.delenv("EDDY_BOOTSTRAP")

    assert load_settings().bootstrap == "127.0.0.1:23456"
    assert settings_of(None, None).bootstrap == "127.0.0.1:23456", "clients look where commands look"
    assert settings_of("elsewhere:9092", None).bootstrap == "elsewhere:9092"


def test_long_prose_leaves_the_other_columns_of_a_table_alone() -> None:
    """On a terminal of 80 columns a detail of 190 characters goes on in further lines; what names the letter stays to be copied."""
    table = table_of(("letter", "reason", "from", "bytes", "detail"), [("3/1234567", "missing_field", "eddy.traces 3/7654321", "1,234", "word " * 38)], prose="detail")
    console = Console(width=80, file=io.StringIO(), legacy_windows=False)

    console.print(table)

    said = console.file.getvalue()
    assert all(cell in said for cell in ("3/1234567", "missing_field", "eddy.traces 3/7654321", "1,234", "letter", "reason", "bytes"))
    assert said.count("word") == 38


def test_plain_keeps_control_characters_from_the_terminal() -> None:
    """A hostile class name must not move the cursor or colour the screen: ESC is 0x1b, and newline would forge a row."""
    assert plain("a\x1b[2Jb\nc") == r"a\x1b[2Jb\nc"
    assert plain("x" * 300, most=10) == "x" * 10 + "…"
