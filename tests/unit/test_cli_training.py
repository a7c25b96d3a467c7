"""`eddy train` and `eddy adapters`, as far as they go without torch."""

import hashlib
import json

import pytest

from stream.cli import main
from stream.cli.training import read_lines
from stream.errors import TrainingError

WEIGHTS = b"weights"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code, capsys.readouterr()


def adapter(folder, name, digest):
    (folder / name).mkdir(parents=True)
    (folder / name / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / name / "adapter.json").write_text(json.dumps({"name": name, "weights_sha256": digest, "held_out_loss_after": 1.5}))


def test_adapters_are_listed_and_damaged_ones_named(tmp_path, capsys):
    adapter(tmp_path, "good-v1", hashlib.sha256(WEIGHTS).hexdigest())
    adapter(tmp_path, "bad-v2", "0" * 64)
    (tmp_path / ".runs").mkdir()
    code, said = run(capsys, "adapters", "list", "--folder", tmp_path, "--json")
    assert code == 0
    assert [card["name"] for card in json.loads(said.out)] == ["good-v1"]
    assert "bad-v2" in said.err
    assert ".runs" not in said.err


def test_an_adapter_is_shown_after_a_check_of_its_weights(tmp_path, capsys):
    adapter(tmp_path, "good-v1", hashlib.sha256(WEIGHTS).hexdigest())
    adapter(tmp_path, "bad-v2", "0" * 64)
    code, said = run(capsys, "adapters", "show", "good-v1", "--folder", tmp_path)
    assert (code, json.loads(said.out)["held_out_loss_after"]) == (0, 1.5)
    assert run(capsys, "adapters", "show", "bad-v2", "--folder", tmp_path)[0] == 1
    code, said = run(capsys, "adapters", "show", "../good-v1", "--folder", tmp_path / "bad-v2")
    assert (code, "no adapter's name" in said.err) == (1, True)


@pytest.mark.parametrize(("text", "wrong"), [('{"a": 1}\nnope\n', "line 2"), ("[1]\n", "line 1"), ("\n", "holds no conversation")])
def test_a_file_that_cannot_be_trained_on_is_named_with_its_line(tmp_path, text, wrong):
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(TrainingError, match=wrong):
        read_lines(path)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path, capsys):
    code, said = run(capsys, "train", "--data", tmp_path / "none.jsonl", "--model", tmp_path)
    assert (code, said.err.count("\n")) == (1, 1)
    assert "none.jsonl cannot be read" in said.err
