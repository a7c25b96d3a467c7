"""`AgentConfigEvolver`: the seed's answers, and what the seed's versions and files got wrong."""

from __future__ import annotations

import json
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from stream.errors import AgentConfigError
from stream.learning import AgentConfigEvolver, StepType, Trace, TraceStep
from stream.learning.evolving.scoring import agent_score, max_turns, tool_score


class Store:
    def __init__(self, *traces: Trace) -> None:
        self.traces = list(traces)

    def list_traces(self, *, limit: int, agent: str | None = None) -> list[Trace]:
        return [trace for trace in self.traces if agent is None or trace.agent == agent][:limit]


def trace(query: str = "hi", agent: str = "a", *, tools: dict[str, bool | None] | None = None, outcome: str | None = "success", feedback: float | None = 0.9) -> Trace:
    """Make a trace; a tool's value is what its call said of its success, None: nothing."""
    steps = [
        TraceStep(StepType.TOOL_CALL, 0.0, input={"tool": name}, output={} if said is None else {"success": said})
        for name, said in (tools or {}).items()
    ]
    return Trace(query=query, agent=agent, outcome=outcome, feedback=feedback, steps=steps)


@pytest.fixture
def evolver(tmp_path: Path) -> AgentConfigEvolver:
    return AgentConfigEvolver(Store(), config_dir=tmp_path / "configs")


def versions_of(evolver: AgentConfigEvolver, agent: str) -> list[int]:
    return [each["version"] for each in evolver.list_versions(agent)]


@pytest.mark.parametrize(("counted", "score"), [((1, 1, 1.0), 0.8138629436111989), ((10, 8, 7.0), 0.6479579054559675), ((30000, 30000, 30000.0), 1.0), ((0, 0, 0.0), 0.0)])
def test_tools_score_as_the_seed_scores_them(counted: tuple[int, int, float], score: float) -> None:
    """.4 success rate + .4 mean rating + .2 min(ln(1 + n) / 10, 1); recorded from the seed."""
    assert tool_score(*counted) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(("counted", "score"), [((1, 1, 1.0), 1.0), ((10, 8, 7.0), 0.76), ((3, 3, 1.8), 0.84)])
def test_agents_score_as_the_seed_scores_them(counted: tuple[int, int, float], score: float) -> None:
    assert agent_score(*counted) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(("calls", "turns"), [([0], 5), ([2, 2, 1], 5), ([4], 6), ([1, 2, 3, 4], 6), ([3, 3, 3, 10], 12), ([0] * 100 + [50], 5), (list(range(1, 21)), 18)])
def test_turns_are_the_seeds(calls: list[int], turns: int) -> None:
    assert max_turns(calls) == turns


def test_analysis_has_the_seeds_keys_and_order(tmp_path: Path) -> None:
    """Two classes; in `short` b scores 1 against a's .6, and `sql` .84 against `web` .2139 (both called twice: .2 ln 3 / 10 = .022)."""
    store = Store(
        trace(agent="a", tools={"web": None}, outcome="failure", feedback=0.0),
        trace(agent="b", tools={"sql": None}, feedback=1.0),
        trace("solve x + 1 = 2", "a", tools={"calculator": None}),
    )
    assert AgentConfigEvolver(store, config_dir=tmp_path).analyze() == [
        {"query_class": "math", "recommended_tools": ["calculator"], "recommended_agent": "a", "recommended_max_turns": 5, "sample_count": 1},
        {"query_class": "short", "recommended_tools": ["sql", "web"], "recommended_agent": "b", "recommended_max_turns": 5, "sample_count": 2},
    ]


def test_nothing_recommends_nothing(evolver: AgentConfigEvolver) -> None:
    assert evolver.analyze() == []


def test_class_of_failures_recommends_nothing(tmp_path: Path) -> None:
    """W-27: the seed recommends from traces that failed and are rated 0, since it never looks at `min_quality`."""
    bad = [trace(tools={"sql": None}, outcome="failure", feedback=0.0)] * 5 + [trace(tools={"sql": None}, feedback=0.3)] * 5
    assert AgentConfigEvolver(Store(*bad), config_dir=tmp_path).analyze() == []
    assert len(AgentConfigEvolver(Store(*bad), config_dir=tmp_path, min_quality=0.3).analyze()) == 1


def test_tool_that_always_fails_is_not_recommended(tmp_path: Path) -> None:
    """W-27: the seed goes by the outcome of the trace, and recommends every tool that it ever saw; one that does not say is unknown, not failed."""
    store = Store(*[trace(tools={"broken": False, "sql": True, "quiet": None})] * 5)
    (found,) = AgentConfigEvolver(store, config_dir=tmp_path).analyze()
    assert sorted(found["recommended_tools"]) == ["quiet", "sql"]


def test_analysis_of_one_agent_sees_no_other(tmp_path: Path) -> None:
    """W-12: the seed analyses all agents whoever is asked for; a store that knows no agents changes nothing of it."""

    class Deaf(Store):
        def list_traces(self, *, limit: int, agent: str | None = None) -> list[Trace]:
            return self.traces[:limit]

    (found,) = AgentConfigEvolver(Deaf(trace(agent="a", tools={"sql": None}), trace(agent="b", tools={"web": None})), config_dir=tmp_path).analyze(agent="a")
    assert (found["recommended_agent"], found["recommended_tools"]) == ("a", ["sql"])


def test_suggestions_need_evidence(tmp_path: Path) -> None:
    """W-22, W-27: one lucky trace suggests nothing; with 20 a tool that fails 18 of 20 times (at most 30 %, Wilson) goes, and one never tried stays."""
    evolver = AgentConfigEvolver(store := Store(trace(tools={"sql": True})), config_dir=tmp_path)
    evolver.write_config("a", tools=["web", "new"])
    assert evolver.suggest() == []
    store.traces = [trace(tools={"sql": True, "web": place < 2, "quiet": None}) for place in range(20)] + [trace(agent="b", tools={"web": True})]
    (found,) = evolver.suggest()
    assert (found.agent, found.tools, found.max_turns, found.traces) == ("a", ["sql", "new"], 5, 20)
    assert found.success_rates["web"][1] == pytest.approx(0.3010, abs=1e-4)
    assert evolver.suggest(query_class="code") == []


def test_new_configuration_is_the_seeds(evolver: AgentConfigEvolver) -> None:
    path = evolver.write_config("react", tools=["sql"])
    assert tomllib.loads(path.read_text()) == {"agent": {"name": "react", "tools": ["sql"], "max_turns": 10, "temperature": 0.3, "system_prompt": ""}}
    assert evolver.list_versions("react") == [{"version": 1, "path": str(path), "modified": path.stat().st_mtime}]
    assert evolver.list_versions("nobody") == []


def test_what_a_person_wrote_survives(evolver: AgentConfigEvolver, tmp_path: Path) -> None:
    """W-38: the seed resets prompt and temperature, and drops comments and keys of its own at every change."""
    written = '# ours\n[agent]\nname = "React"\ntemperature = 0.9 # warm\nsystem_prompt = """\nBe kind.\n"""\ntools = ["web"]  # for now\nowner = "ann"\n\n[limits]\nusd = 1\n'
    (tmp_path / "configs/react.toml").write_text(written)
    evolver.write_config("react", tools=["sql"])
    assert (tmp_path / "configs/react.toml").read_text() == written.replace('["web"]', '["sql"]')


@pytest.mark.parametrize(
    ("tools", "written"),
    [
        (["sql", "calc"], '\n  "sql", # good\n  # the rest\n  "calc",\n'),
        (["web", "sql", "calc", "new"], '\n  "web", # slow\n  "sql", # good\n  # the rest\n  "calc",\n  "new",\n'),
        (["calc", "sql"], '"calc", "sql"'),
        ([], None),
    ],
)
def test_comments_beside_tools_that_stay_in_their_order_survive(evolver: AgentConfigEvolver, tmp_path: Path, tools: list[str], written: str | None) -> None:
    (tmp_path / "configs/react.toml").write_text('[agent]\nname = "react"\ntools = [\n  "web", # slow\n  "sql", # good\n  # the rest\n  "calc",\n]  # end\n')
    path = evolver.write_config("react", tools=tools)
    assert tomllib.loads(path.read_text())["agent"]["tools"] == tools
    assert written is None or path.read_text() == f'[agent]\nname = "react"\ntools = [{written}]  # end\n'


@pytest.mark.parametrize("prompt", ["two\nlines", 'say "hi" \\ bye', "bell \x07 nul \x00", "é 漢 🙂", "'''\"\"\"", "\r\n\ttab"])
def test_values_that_need_escapes_are_read_back(evolver: AgentConfigEvolver, prompt: str) -> None:
    """W-37: a newline in the seed's prompt makes a file that no TOML reader reads."""
    path = evolver.write_config("react", tools=[prompt], system_prompt=prompt)
    read = tomllib.loads(path.read_bytes().decode())["agent"]
    assert (read["system_prompt"], read["tools"]) == (prompt, [prompt])


def test_what_toml_cannot_hold_changes_nothing(evolver: AgentConfigEvolver) -> None:
    path = evolver.write_config("react", tools=["sql"])
    before = path.read_bytes()
    with pytest.raises(AgentConfigError, match="TOML"):
        evolver.write_config("react", tools=["\ud800"])
    assert (path.read_bytes(), versions_of(evolver, "react")) == (before, [1])


def test_file_that_is_no_toml_is_not_overwritten(evolver: AgentConfigEvolver, tmp_path: Path) -> None:
    (tmp_path / "configs/react.toml").write_text("[agent\n")
    with pytest.raises(AgentConfigError, match="correct its file"):
        evolver.write_config("react", tools=["sql"])
    assert (tmp_path / "configs/react.toml").read_text() == "[agent\n"


def test_versions_are_numbers(evolver: AgentConfigEvolver, tmp_path: Path) -> None:
    """W-36: the seed's tenth version comes second, since it sorts names; rolling back to 2 restores the tenth."""
    written = [evolver.write_config("react", tools=[f"tool-{number}"]).read_bytes() for number in range(1, 13)]
    assert versions_of(evolver, "react") == list(range(1, 13))
    assert (tmp_path / "configs/.history/react.v11.toml").read_bytes() == written[10]
    evolver.rollback("react", 2)
    assert (tmp_path / "configs/react.toml").read_bytes() == written[1]
    assert [Path(each["path"]).read_bytes() for each in evolver.list_versions("react")] == [*written, written[1]]
    evolver.rollback("react", 12)
    assert (tmp_path / "configs/react.toml").read_bytes() == written[11]
    assert evolver.provenance("react", 13) == {"rollback_to": 2}


def test_rollback_is_byte_for_byte(evolver: AgentConfigEvolver, tmp_path: Path) -> None:
    live = tmp_path / "configs/react.toml"
    live.write_bytes(odd := b'# a\r\n[agent]\r\ntools   = [ "web" , ]\r\n\r\n\r\n')
    evolver.write_config("react", tools=["sql"])
    evolver.rollback("react", 1)
    assert live.read_bytes() == odd


def test_version_that_is_not_there_is_named(evolver: AgentConfigEvolver) -> None:
    evolver.write_config("react", tools=["sql"])
    with pytest.raises(ValueError, match="99"):
        evolver.rollback("react", 99)


def test_no_change_makes_no_version(evolver: AgentConfigEvolver) -> None:
    """W-39, W-13: the seed archives a copy at every write, changed or not."""
    for _ in range(3):
        evolver.write_config("react", tools=["sql"])
    evolver.rollback("react", 1)
    assert versions_of(evolver, "react") == [1]


@pytest.mark.parametrize("name", ["../escape", "a/b", "/etc/x", "", ".hidden", "a\x00b", "a\nb", "..", "x" * 200])
def test_no_name_leaves_the_folder(evolver: AgentConfigEvolver, tmp_path: Path, name: str) -> None:
    """W-38: the seed writes `../escape.toml` beside its folder."""
    for attempt in (lambda: evolver.write_config(name, tools=[]), lambda: evolver.list_versions(name), lambda: evolver.rollback(name, 1)):
        with pytest.raises(AgentConfigError, match="name"):
            attempt()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".history", "configs"]


def test_names_that_begin_alike_share_no_history(evolver: AgentConfigEvolver) -> None:
    """W-38: the seed's `a` takes the history of `a.v9` for its own."""
    for number in range(3):
        evolver.write_config("a.v9", tools=[str(number)])
    evolver.write_config("a", tools=["sql"])
    assert (versions_of(evolver, "a"), versions_of(evolver, "a.v9")) == ([1], [1, 2, 3])


def test_provenance_stands_beside_the_version(evolver: AgentConfigEvolver, tmp_path: Path) -> None:
    """W-39: the seed keeps nothing of where a version comes from."""
    evolver.write_config("react", tools=["sql"], provenance={"cycle": "c1", "traces": 40})
    assert json.loads((tmp_path / "configs/.history/react.v1.json").read_text()) == {"cycle": "c1", "traces": 40}
    assert evolver.provenance("react", 1) == {"cycle": "c1", "traces": 40}


def test_writers_at_once_lose_no_version(evolver: AgentConfigEvolver, tmp_path: Path) -> None:
    """W-37: without a lock two writers take the same number, and one archive is lost."""
    errors: list[Any] = []

    def write(writer: int) -> None:
        try:
            for number in range(10):
                AgentConfigEvolver(Store(), config_dir=tmp_path / "configs").write_config("react", tools=[f"{writer}-{number}"])
        except Exception as exc:
            errors.append(exc)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    tools = [tomllib.loads(Path(each["path"]).read_text())["agent"]["tools"][0] for each in evolver.list_versions("react")]
    assert (errors, len(tools), len(set(tools))) == ([], 40, 40)


def test_crash_while_writing_leaves_what_was_live(evolver: AgentConfigEvolver, monkeypatch: pytest.MonkeyPatch) -> None:
    """W-37: the seed truncates the live file and writes it anew; here the machine stops before each move onto the disk in turn."""
    path = evolver.write_config("react", tools=["old"])
    before = path.read_bytes()
    for stops_at in range(2):
        moves = iter(range(10))

        def move(self: Path, target: Path, moves: Any = moves, stops_at: int = stops_at, real: Any = Path.replace) -> Path:
            if next(moves) == stops_at:
                raise OSError("no more power")
            return Path(real(self, target))

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", move)
            with pytest.raises(OSError, match="power"):
                evolver.write_config("react", tools=["new"])
        assert path.read_bytes() == before
    evolver.write_config("react", tools=["new"])
    assert tomllib.loads(path.read_text())["agent"]["tools"] == ["new"]
