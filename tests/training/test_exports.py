"""What `eddy export` writes, read by Hugging Face `datasets`, as whoever trains elsewhere reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream.cli.exporting import export
from tests.unit.archive_support import filled, no_archive_left_open  # noqa: F401 - a fixture
from tests.unit.test_mining import conversation_log

datasets = pytest.importorskip("datasets", reason="needs datasets: `make test-train` installs it")


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Export a form and load it back."""
    monkeypatch.setenv("EDDY_DATA_DIR", str(tmp_path))

    def exported(form: Any) -> Any:
        path = tmp_path / f"out.{form}"
        export(form=form, output=path, agent=None, query_class=None, since="", split=None, min_quality=0.7, redact=True, as_json=True)
        return datasets.load_dataset("parquet" if form == "parquet" else "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))

    return exported


async def test_conversations_load_with_their_tool_calls(load: Any, tmp_path: Path) -> None:
    """Messages with calls stand beside messages without: every field comes back as it was written, in JSON and in Parquet."""
    await filled(tmp_path, conversation_log())

    chat, parquet = load("chat"), load("parquet")

    rows = {row["trace_id"]: row for row in chat}
    assert set(rows) == {"better", "tool"}
    asked, called, gave, answered = rows["tool"]["messages"]
    assert (asked["content"], answered["content"]) == ("Add.", "3")
    assert called["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a":1}'}
    assert (gave["role"], gave["content"], gave["tool_call_id"]) == ("tool", "3", called["tool_calls"][0]["id"])
    assert {row["trace_id"]: json.loads(row["messages"])[-1]["content"] for row in parquet} == {"better": "five", "tool": "3"}
    assert chat["score"] == parquet["score"]


async def test_preferences_load_with_what_is_preferred(load: Any, tmp_path: Path) -> None:
    """One query has a good and a bad answer."""
    await filled(tmp_path, conversation_log())

    (row,) = load("preference")

    assert [message["content"] for message in (*row["prompt"], *row["chosen"], *row["rejected"])] == [" what is FIVE? ", "five", "six"]
    assert (row["chosen_score"], row["rejected_score"]) == (0.9, 0.0)
