"""A run that is broken off anywhere goes on and ends as if it had not been; what cannot be written is said, and what was written stays."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from stream.errors import TrainingCheckpointError
from stream.learning import LoRATrainer, LoRATrainingConfig
from stream.training import checkpoints
from stream.training.adapters import WEIGHTS
from stream.training.progress import Progress
from tests.training.tiny import save_tiny

PAIRS = [{"input": f"What is {a}+{b}?", "output": f"It is {a + b}."} for a in range(8) for b in range(8)]


class Interrupted(Exception):  # noqa: N818 - no error: what ends a life in these tests
    """The process is gone, as far as the run can tell."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny", [f"{pair['input']} {pair['output']}" for pair in PAIRS], layers=1)


def trainer(model: Path, folder: Path, **settings: Any) -> LoRATrainer:
    settings = {"learning_rate": 2e-3, "batch_tokens": 256, "lora_rank": 4, "max_steps": 20, "num_epochs": 9, "save_every_n_steps": 3, "evaluate_every_n_steps": 4} | settings
    return LoRATrainer(LoRATrainingConfig(output_dir=str(folder), **settings), model_name=str(model), device="cpu")


def ending_at(step: int) -> Any:
    def end(progress: Progress) -> None:
        if progress.step == step:
            raise Interrupted

    return end


def weights_of(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(Path(result["adapter_path"]) / WEIGHTS)


def run_folder(folder: Path) -> Path:
    (found,) = (folder / ".runs").iterdir()
    return found


@pytest.mark.parametrize("batching", ["tokens", "packed"])
def test_run_that_was_broken_off_ends_with_the_same_adapter(model: Path, tmp_path: Path, batching: Any) -> None:
    """Broken off before the first checkpoint, between two, and right behind one: every tensor and loss is the uninterrupted run's, bit by bit, dropout included."""
    peaceful = trainer(model, tmp_path / "peaceful", batching=batching).train(PAIRS)

    for step in (2, 8, 9, 19):
        with pytest.raises(Interrupted):
            trainer(model, tmp_path / "broken", batching=batching).train(PAIRS, on_progress=ending_at(step))
    told: list[Progress] = []
    result = trainer(model, tmp_path / "broken", batching=batching).train(PAIRS, on_progress=told.append)

    assert told[0].step == 19  # the last checkpoint is of step 18
    assert all(torch.equal(tensor, weights_of(result)[name]) for name, tensor in weights_of(peaceful).items())
    for name in ("avg_loss", "held_out_loss_before", "held_out_loss_after"):
        assert result[name] == peaceful[name]
    assert list((tmp_path / "broken/.runs").iterdir()) == []


def test_other_data_or_settings_are_another_run(model: Path, tmp_path: Path) -> None:
    """A checkpoint of other pairs would be taken for half of the work."""
    with pytest.raises(Interrupted):
        trainer(model, tmp_path).train(PAIRS, on_progress=ending_at(8))
    told: list[Progress] = []

    trainer(model, tmp_path).train(PAIRS[:-1], on_progress=told.append)
    trainer(model, tmp_path, learning_rate=1e-3).train(PAIRS, on_progress=told.append)

    assert [each.step for each in told].count(0) == 2


def test_minutes_of_a_life_before_count(model: Path, tmp_path: Path) -> None:
    """A run that is killed again and again would else never end. A second a step: 9 of the 12 are used up at the checkpoint of step 9."""
    with pytest.raises(Interrupted):
        LoRATrainer(trainer(model, tmp_path, max_minutes=0.2).config, model_name=str(model), device="cpu", clock=ticking()).train(PAIRS, on_progress=ending_at(10))

    result = LoRATrainer(trainer(model, tmp_path, max_minutes=0.2).config, model_name=str(model), device="cpu", clock=ticking()).train(PAIRS)

    assert (result["stopped_by"], result["total_steps"], result["seconds"]) == ("max_minutes", 12, 12.0)


def ticking() -> Any:
    seconds = count()
    return lambda: float(next(seconds))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write files beyond a size."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_checkpoint_that_cannot_be_written_leaves_the_last_good_one(model: Path, tmp_path: Path) -> None:
    """The error says what is kept and what to do, and the same run goes on from there once there is room."""
    peaceful = trainer(model, tmp_path / "peaceful").train(PAIRS)

    def fill(progress: Progress) -> None:
        if progress.step == 11:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    with largest_file(10**9), pytest.raises(TrainingCheckpointError, match="the last good one, step-00000009, is kept"):
        trainer(model, tmp_path / "full").train(PAIRS, on_progress=fill)

    assert [path.name for path in run_folder(tmp_path / "full").iterdir()] == ["step-00000009"]
    result = trainer(model, tmp_path / "full").train(PAIRS)
    assert all(torch.equal(tensor, weights_of(result)[name]) for name, tensor in weights_of(peaceful).items())


def test_disk_that_is_full_is_said_so(model: Path, tmp_path: Path) -> None:
    """On a file system of its own with room for one checkpoint and a half."""
    with pytest.raises(Interrupted):
        trainer(model, tmp_path / "roomy").train(PAIRS, on_progress=ending_at(4))
    room = sum(path.stat().st_size for path in run_folder(tmp_path / "roomy").rglob("*") if path.is_file()) * 3 // 2
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("needs a file system of its own, which only root may mount")
    try:
        with pytest.raises(TrainingCheckpointError, match=r"No space left.*make room.*step-00000003, is kept"):
            trainer(model, disk).train(PAIRS)
        assert [path.name for path in disk.rglob("*") if "making" in path.name] == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_folder_that_cannot_be_written_is_said_so(model: Path, tmp_path: Path) -> None:
    """Before hours of training are lost, at the first checkpoint."""
    (tmp_path / "file").write_text("")

    with pytest.raises(TrainingCheckpointError, match="cannot be written"):
        trainer(model, tmp_path / "file").train(PAIRS)


def test_checkpoint_that_is_damaged_is_named(model: Path, tmp_path: Path) -> None:
    """A run that silently began anew would hide a broken disk."""
    with pytest.raises(Interrupted):
        trainer(model, tmp_path).train(PAIRS, on_progress=ending_at(8))
    found = checkpoints.newest(run_folder(tmp_path))
    assert found is not None
    (found / checkpoints.TENSORS).write_bytes((found / checkpoints.TENSORS).read_bytes()[:-10])

    with pytest.raises(TrainingCheckpointError, match=r"cannot be read .*step-00000006|step-00000006 cannot be read"):
        trainer(model, tmp_path).train(PAIRS)


def test_half_a_checkpoint_is_never_read(tmp_path: Path) -> None:
    """What is being made has another name until it is whole."""
    checkpoints.save(tmp_path, 3, {"a": torch.ones(2)}, {"step": 3})
    (tmp_path / ".step-00000004.making-1").mkdir()

    found = checkpoints.newest(tmp_path)

    assert found is not None
    assert found.name == "step-00000003"
    assert checkpoints.load(found)[1] == {"step": 3}


def test_memory_does_not_grow(model: Path, tmp_path: Path) -> None:
    """500 steps after the first 100: less than 20 MB more, where keeping every step's graph or loss tensor alive would take hundreds."""
    process, held = psutil.Process(), {}

    def look(progress: Progress) -> None:
        if progress.step in {100, 600}:
            held[progress.step] = process.memory_info().rss

    trainer(model, tmp_path, max_steps=600, num_epochs=100, save_every_n_steps=50, evaluate_every_n_steps=50, early_stopping_patience=0).train(PAIRS, on_progress=look)

    assert held[600] - held[100] < 20e6
