"""Mining the archive: which answers are exported, in which form, and that no query stands on two sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pyarrow.json as arrow_json
import pytest
from pyarrow import parquet

from stream.archive.reader import ArchiveReader
from stream.cli.exporting import export
from stream.learning.mining.answers import Period, answers
from stream.learning.mining.export import Wanted, exported
from stream.learning.splits import split_of
from tests.unit.archive_support import Log, filled, no_archive_left_open  # noqa: F401 - a fixture


def conversation_log() -> Log:
    """Two answers to one query, written differently; one query that failed; one that nobody scored; one with a tool."""
    log = Log()
    log.trace("good", query="What is five?", result="5", outcome="success")
    log.trace("better", query=" what is FIVE? ", result="five", outcome="success")
    log.trace("wrong", query="What is five?", result="six", outcome="failure")
    log.trace("unscored", query="Anything?", result="something")
    step = {"step_type": "tool_call", "timestamp": 1, "input": {"tool": "add", "arguments": {"a": 1}}, "output": {"result": 3}}
    log.trace("tool", query="Add.", result="3", outcome="success", steps=[step])
    log.trace("empty", query="Nothing?", result=" ", outcome="success")
    log.feedback("good", 0.8)
    log.feedback("better", 0.9)
    log.feedback("tool", 0.75)
    return log


async def test_best_answer_of_each_query_is_exported_as_a_conversation(tmp_path: Path) -> None:
    """By hand: the better rated of two answers to `five`, and the one with a tool, its call and result between question and answer."""
    path = await filled(tmp_path, conversation_log())

    with ArchiveReader(path) as reader:
        rows = {row["trace_id"]: row for row in exported(reader, Wanted())}

    assert set(rows) == {"better", "tool"}
    assert rows["better"]["messages"] == [{"role": "user", "content": " what is FIVE? "}, {"role": "assistant", "content": "five"}]
    assert rows["better"]["score"] == 0.9
    assert [message["role"] for message in rows["tool"]["messages"]] == ["user", "assistant", "tool", "assistant"]
    call = rows["tool"]["messages"][1]["tool_calls"][0]
    assert (call["function"], rows["tool"]["messages"][2]["content"]) == ({"name": "add", "arguments": '{"a":1}'}, "3")
    assert rows["tool"]["messages"][2]["tool_call_id"] == call["id"]


async def test_answer_to_a_query_whose_class_nobody_named_is_read(tmp_path: Path) -> None:
    """Most agents name none: the archive has classed it, and its score does not depend on it."""
    log = Log()
    log.say("plain", query="What is five?", result="5", outcome="success", model="m")
    path = await filled(tmp_path, log)

    with ArchiveReader(path) as reader:
        (row,) = exported(reader, Wanted())

    assert (row["trace_id"], row["score"]) == ("plain", 1.0)


async def test_preference_pairs_have_the_best_and_the_worst_answer(tmp_path: Path) -> None:
    """One query has both: `five` before `six`, which failed."""
    path = await filled(tmp_path, conversation_log())

    with ArchiveReader(path) as reader:
        (pair,) = exported(reader, Wanted(form="preference"))

    assert pair["prompt"] == [{"role": "user", "content": " what is FIVE? "}]
    assert (pair["chosen"], pair["rejected"]) == ([{"role": "assistant", "content": "five"}], [{"role": "assistant", "content": "six"}])
    assert (pair["chosen_trace_id"], pair["rejected_trace_id"]) == ("better", "wrong")


async def test_no_query_is_on_two_sides_and_all_sides_together_are_everything(tmp_path: Path) -> None:
    """Sixty queries, each asked twice in other letters: every export of a side holds that side's only."""
    log = Log()
    for number in range(60):
        for each, text in enumerate((f"Question {number}?", f" question  {number}? ")):
            log.trace(f"t{number}-{each}", query=text, result=f"answer {each}", outcome="success")
            log.feedback(f"t{number}-{each}", 0.9)
    path = await filled(tmp_path, log)

    with ArchiveReader(path) as reader:
        sides = {split: {row["trace_id"].split("-")[0] for row in exported(reader, Wanted(split=split))} for split in ("train", "tune", "test")}

    assert sum(map(len, sides.values())) == len(set.union(*sides.values())) == 60
    for split, ids in sides.items():
        assert {split_of(f"Question {name[1:]}?") for name in ids} == {split}


async def test_files_load_with_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hugging Face datasets reads JSON Lines and Parquet by Arrow: every row is there, with the columns that the form promises."""
    await filled(tmp_path, conversation_log())
    monkeypatch.setenv("EDDY_DATA_DIR", str(tmp_path))
    forms: tuple[tuple[Literal["chat", "preference", "parquet"], int], ...] = (("chat", 2), ("preference", 1), ("parquet", 2))
    for form, rows in forms:
        path = tmp_path / f"out.{form}"
        export(form=form, output=path, agent=None, query_class=None, since="", split=None, min_quality=0.7, redact=False, as_json=True)

        table = parquet.read_table(path) if form == "parquet" else arrow_json.read_json(path)

        assert table.num_rows == rows
        assert {"query_class", "agent", "model", "split"} <= set(table.column_names)
        assert ("messages" in table.column_names) is (form != "preference")
    assert json.loads(parquet.read_table(tmp_path / "out.parquet").column("messages")[0].as_py())[0]["role"] == "user"


async def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    """From a cursor on, by agent and class."""
    log = Log()
    for number in range(10):
        log.trace(f"t{number}", query=f"q{number}", result="r", agent="a" if number % 2 else "b")
    path = await filled(tmp_path, log)

    with ArchiveReader(path) as reader:
        assert [answer.trace_id for answer in answers(reader, Period(after_seq=6))] == ["t6", "t7", "t8", "t9"]
        assert [answer.trace_id for answer in answers(reader, Period(agent="a", after_seq=6))] == ["t7", "t9"]
        assert list(answers(reader, Period(query_class="none"))) == []


async def test_command_writes_a_file_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a trainer reads is one JSON object a line; an export of nothing says why."""
    await filled(tmp_path, conversation_log())
    monkeypatch.setenv("EDDY_DATA_DIR", str(tmp_path))

    export(form="chat", output=tmp_path / "out.jsonl", agent=None, query_class=None, since="", split=None, min_quality=0.7, redact=False, as_json=True)

    said = json.loads(capsys.readouterr().out)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert said["rows"] == len(lines) == 2
    assert {json.loads(line)["trace_id"] for line in lines} == {"better", "tool"}
    assert not list(tmp_path.glob("*.partial"))
    export(form="chat", output=tmp_path / "none.jsonl", agent=None, query_class=None, since="", split=None, min_quality=1.0, redact=False, as_json=False)
    assert "no answer is scored 1.0 or better" in capsys.readouterr().err
