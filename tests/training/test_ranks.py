"""Several processes train the adapter that one would have trained."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from stream.training.adapters import WEIGHTS
from tests.training.tiny import save_tiny

SCRIPT = """
import json, sys
import torch
from stream.learning import LoRATrainer, LoRATrainingConfig
torch.set_num_threads(1)
pairs = [{"input": f"What is {a}+{b}?", "output": f"It is {a + b}."} for a in range(8) for b in range(8)]
config = LoRATrainingConfig(output_dir=sys.argv[2], learning_rate=2e-3, batch_tokens=256, lora_rank=4, lora_dropout=0.0, max_steps=12, num_epochs=3, save_every_n_steps=4)
told = []
result = LoRATrainer(config, model_name=sys.argv[1], device="cpu").train(pairs, on_progress=lambda progress: told.append(progress.step))
print(json.dumps({**result, "told": told}))
"""


def start(model: Path, folder: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(model), str(folder)], env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result_of(process: subprocess.Popen[str]) -> dict:
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads(said.splitlines()[-1])


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """Started as a launcher starts them, each takes half of every batch; the sums are added in another order, so that weights agree to 1e-5. One of them writes and tells."""
    model = save_tiny(tmp_path / "tiny", [f"What is {a}+{b}? It is {a + b}." for a in range(8) for b in range(8)], layers=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}

    alone = start(model, tmp_path / "alone")
    both = [start(model, tmp_path / "both", **launcher, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]
    one, first, second = (result_of(process) for process in (alone, *both))

    assert second == {"status": "completed", "total_steps": 12, "rank": 1, "told": []}
    assert first["told"] == one["told"] == list(range(13))
    assert abs(first["held_out_loss_after"] - one["held_out_loss_after"]) < 1e-5
    weights = [load_file(Path(each["adapter_path"]) / WEIGHTS) for each in (one, first)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])
    assert len([path for path in (tmp_path / "both").iterdir() if path.name != ".runs"]) == 1
