"""`eddy configs` on a folder of configurations, with no broker to talk to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream.cli import main
from stream.learning import AgentConfigEvolver, LearningOrchestrator, Trace
from stream.learning.evolving import pins

NOBODY = "127.0.0.1:1"
"""An address where nothing answers: port 1 is reserved and never lent out."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hold two versions of `react`: a person's, and a cycle's that takes `web` away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDDY_BOOTSTRAP", NOBODY)
    monkeypatch.setenv("EDDY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("EDDY_CONFIG_DIR", str(tmp_path / "configs"))
    evolver = AgentConfigEvolver(None, config_dir=tmp_path / "configs")
    evolver.write_config("react", tools=["sql", "web"])
    evolver.write_config("react", tools=["sql"], provenance={"cycle": "c1", "verdict": "better"})
    (tmp_path / "data").mkdir()
    return tmp_path / "configs"


def eddy(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["configs", *arguments])
    return exit_.value.code if isinstance(exit_.value.code, int) else 0


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert eddy(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_list_says_where_versions_come_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (listed,) = printed(capsys, "list")
    assert (listed["agent"], listed["version"], listed["from"], listed["pinned"]) == ("react", 2, "cycle c1: better", False)
    assert eddy() == 0
    assert "react" in capsys.readouterr().out


def test_show_prints_any_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert eddy("show", "react") == 0
    assert 'tools = ["sql"]' in capsys.readouterr().out
    assert 'tools = ["sql", "web"]' in printed(capsys, "show", "react", "--version", "1")["toml"]


def test_diff_shows_what_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "diff", "react")
    assert (shown["from"], shown["to"]) == (1, 2)
    assert {'-tools = ["sql", "web"]', '+tools = ["sql"]'} <= set(shown["diff"].splitlines())


def test_diff_is_in_colour_on_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """ANSI: 31 is red, 32 is green; a control character of the file is written out."""
    (folder / "react.toml").write_text('# \x1b[5m\n[agent]\ntools = ["sql"]\n')
    monkeypatch.setattr("stream.cli.configs.wide_console", lambda: Console(force_terminal=True, color_system="standard", markup=False, highlight=False))
    assert eddy("diff", "react") == 0
    shown = capsys.readouterr().out
    assert '\x1b[31m-tools = ["sql", "web"]' in shown
    assert '\x1b[32m+tools = ["sql"]' in shown
    assert "\x1b[5m" not in shown


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("show", "raect"), "did you mean react?"),
        (("diff", "nobody"), "`eddy configs` lists the agents"),
        (("show", "../configs/react"), "has no configuration"),
        (("rollback", "react", "9"), "only versions 1 to 2"),
        (("pin", "nobody"), "has no configuration"),
    ],
)
def test_what_is_not_there_is_said(folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], hint: str) -> None:
    assert eddy(*arguments) == 1
    assert hint in capsys.readouterr().err


def test_rollback_that_nobody_hears_of_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The version is live on this machine, and the same command again does not make another one."""
    before = (folder / ".history/react.v1.toml").read_bytes()
    for _ in range(2):
        assert eddy("rollback", "react", "1", "--reason", "slow") == 1
        assert "nobody else was told" in capsys.readouterr().err
    assert (folder / "react.toml").read_bytes() == before
    assert printed(capsys, "show", "react")["version"] == 3


def test_pin_keeps_cycles_away(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "pin", "react", "--reason", "audited") == {"agent": "react", "version": 2, "pinned": True}
    assert printed(capsys, "list")[0]["pinned"]
    before = (folder / "react.toml").read_bytes()
    store = type("Store", (), {"list_traces": lambda self, **_: [Trace(query="hi", agent="react", result="x", outcome="success", feedback=1.0)]})()
    (candidate,) = LearningOrchestrator(trace_store=store, config_dir=folder).run()["candidates"]
    assert (candidate["status"], "audited" in candidate["reason"], (folder / "react.toml").read_bytes()) == ("discarded", True, before)
    assert printed(capsys, "unpin", "react")["was_pinned"]
    assert not printed(capsys, "unpin", "react")["was_pinned"]
    (candidate,) = LearningOrchestrator(trace_store=store, config_dir=folder).run()["candidates"]
    assert candidate["status"] == "promoted"
    assert pins.why_pinned(folder, "react") == ""
