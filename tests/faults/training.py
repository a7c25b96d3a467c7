"""Kills a training run again and again, and holds the adapter that it ends with against one that was never killed.

    .venv/train/bin/python -m tests.faults.training --kills 10

A kill counts when the run had done a step since it was started. The run saves after every step, so that many kills fall into the writing of a
checkpoint. The last line is JSON; the exit status is 0 only when every tensor and the held-out losses agree to 1e-6. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOLERANCE = 1e-6
STEPS = 80
"""Of the run: enough that ten kills, each some steps after the last, fall into it."""
MOST_STEPS = 5
"""A life lasts a random number of steps up to this, and a moment."""


def pairs() -> list[dict[str, Any]]:
    return [{"input": f"What is {a}+{b}?", "output": f"It is {a + b}.", "trace_id": f"{a}+{b}"} for a in range(12) for b in range(12)]


def live(folder: Path) -> None:
    """Train to the end, a line a step: what a life of the run does."""
    import torch

    from stream.training import LoRATrainer, LoRATrainingConfig

    torch.set_num_threads(1)
    config = LoRATrainingConfig(
        output_dir=str(folder / "adapters"),
        target_modules="all-linear",
        lora_rank=4,
        learning_rate=1e-3,
        num_epochs=1000,
        max_steps=STEPS,
        batch_tokens=128,
        evaluate_every_n_steps=10,
        early_stopping_patience=0,
        save_every_n_steps=1,
    )
    trainer = LoRATrainer(config, model_name=str(folder.parent / "model"), device="cpu")
    result = trainer.train(pairs(), on_progress=lambda progress: print(progress.step, flush=True))
    (folder / "result.json").write_text(json.dumps(result))


def start(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "errors.txt").open("a") as errors:
        return subprocess.Popen([sys.executable, "-m", "tests.faults.training", "--live", str(folder)], env=environ, stdout=subprocess.PIPE, stderr=errors, text=True)


def kill_until_done(folder: Path, kills: int, rng: random.Random) -> int:
    """Run lives, killing so many of them; returns the kills that counted."""
    for counted in range(kills + 1):
        process = start(folder)
        assert process.stdout is not None
        steps, last = 0, rng.randint(1, MOST_STEPS)
        for line in process.stdout:
            steps += int(line) > 0
            if counted < kills and steps == last:
                time.sleep(rng.random() * 0.05)
                process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            return counted
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"a life ended with status {process.returncode}: {(folder / 'errors.txt').read_text()[-2000:]}")
    raise RuntimeError(f"a life that nobody killed was killed, after {kills} others")


def compare(one: Path, other: Path) -> list[str]:
    """Return what differs between two runs' adapters, in words."""
    from safetensors.torch import load_file

    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    weights = [load_file(Path(result["adapter_path"]) / "adapter_model.safetensors") for result in results]
    differing = [f"the tensors' names differ: {sorted(weights[0].keys() ^ weights[1].keys())}"] if weights[0].keys() != weights[1].keys() else []
    gaps = {name: float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0].keys() & weights[1].keys()}
    differing += [f"{name} differs by {gap:.3g}" for name, gap in gaps.items() if not gap <= TOLERANCE]
    for name in ("held_out_loss_before", "held_out_loss_after", "avg_loss"):
        if not abs(results[0][name] - results[1][name]) <= TOLERANCE:
            differing.append(f"{name}: {results[0][name]} and {results[1][name]}")
    return differing + [f"{name}: {results[0][name]} and {results[1][name]}" for name in ("total_steps", "stopped_by", "training_samples") if results[0][name] != results[1][name]]


def run(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Train once in peace and once under kills; returns the figures."""
    from tests.training.tiny import save_tiny

    save_tiny(folder / "model", [f"{pair['input']} {pair['output']}" for pair in pairs()])
    if start(folder / "peaceful").wait() != 0:
        raise RuntimeError((folder / "peaceful/errors.txt").read_text()[-2000:])
    counted = kill_until_done(folder / "killed", kills, random.Random(seed))
    differing = compare(folder / "peaceful", folder / "killed")
    for line in differing:
        print(f"MISMATCH {line}")
    left = [str(path) for path in (folder / "killed/adapters/.runs").rglob("*")] if (folder / "killed/adapters/.runs").exists() else []
    return {"kills": counted, "mismatches": len(differing), "left_behind": len(left), "steps": STEPS}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="lives of the run that are ended by SIGKILL")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the moments")
    parser.add_argument("--folder", type=Path, help="keep everything there")
    parser.add_argument("--live", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.live:
        live(options.live)
        return 0
    print(f"seed {options.seed}", flush=True)
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="eddy-training-"))).absolute()
    figures = run(folder, options.kills, options.seed)
    if options.folder is None and not figures["mismatches"]:
        shutil.rmtree(folder)
    print(json.dumps(figures))
    return int(figures["mismatches"] > 0 or figures["kills"] < options.kills)


if __name__ == "__main__":
    sys.exit(main())
