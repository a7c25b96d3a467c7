"""What training is worth: whether it learns, whether it trains the right tokens, how fast, in how much memory.

    .venv/train/bin/python -m benchmarks.training
    .venv/train/bin/python -m benchmarks.training --quick --only masks speed

Needs the extra `train` (`make test-train` sets its environment up) and, for `learning`, the recorded SQL runs: EDDY_DATA names their folder.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.options import Options, asked
from benchmarks.processes import say

PARTS = ("masks", "speed", "learning", "gpu")
CONVERSATIONS = 200
"""Of each of five families: 1,000."""
ALPHA = 0.05
ANSWER_TOKENS = 80
NOTES = (
    "`speedup_vs_padded`: assistant tokens trained a second, over those of the seed's way (each pair padded to 2,048 tokens, batches of 4). Pairs have 150 tokens in the median.",
    "`ratio_vs_unpadded_loop`: the same over those of a loop by hand that trains the same steps sample by sample, without padding. All three take turns on one thread; medians.",
    "`loss_drop`: a base trained from nothing on a third of InterCode's SQL queries, an adapter (all-linear) on the second and, replayed, the first: the fall of the last's loss.",
    "`accuracy_gain`: of the right answers' tokens with the highest logit, mean over queries, with a 95 % interval; `exact_gain`: of answers that are word for word a right one.",
    "`gate_of_learned`, `gate_of_shuffled`: 1 where the gate lets an adapter through that was trained on the pairs, and one trained on the same pairs with answers shuffled.",
    "`mask_precision`, `mask_recall`: of supervised tokens on 1,000 conversations in five families of templates, against an oracle that writes the turns by hand.",
    "`packing_max_difference`: of a logit in float32 between packed or padded rows and single samples.",
)


def masks(options: Options) -> dict[str, Any]:
    """Hold masks against the oracle."""
    from tests.training.families import FAMILIES, conversation
    from tests.training.test_masking import compare, tokenizer_of

    right = wrong = missed = 0
    for name, family in FAMILIES.items():
        rng, tokenizer = random.Random(11), tokenizer_of(family)
        for _ in range(options.size(CONVERSATIONS, 20)):
            counts = compare(family, tokenizer, conversation(rng))
            right, wrong, missed = right + counts[0], wrong + counts[1], missed + counts[2]
        say(f"masks of {name}: {right:,} tokens right, {wrong} wrong, {missed} missed so far")
    return {"mask_precision": right / (right + wrong), "mask_recall": right / (right + missed), "mask_tokens": right}


def speed(options: Options) -> dict[str, Any]:
    """Race, and compare logits."""
    from benchmarks import training_speed
    from tests.training.tiny import save_tiny

    base = save_tiny(options.folder / "speed", ["a b c"], width=128, layers=3)
    rounds = 1 if options.quick else 3
    speeds = training_speed.compare(base, options.folder / "runs", count=options.size(240, 60), seeds_count=options.size(12, 4), rounds=rounds, say=say)
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "speedup_vs_padded": middle["eddy"] / middle["seed"],
        "ratio_vs_unpadded_loop": middle["eddy"] / middle["by_hand"],
        "assistant_tokens_per_s": middle["eddy"],
        "packing_max_difference": training_speed.greatest_difference(base, options.size(64, 16)),
    }


def learning(options: Options) -> dict[str, Any]:
    """Teach a base some SQL, an adapter more of it, and another one nonsense; ask the gate about both."""
    from benchmarks import training_learning as taught
    from stream.learning.gate import Scores, judge

    folder = Path(os.environ.get("EDDY_DATA", "../shared/data"))
    if not (folder / taught.FILE).exists():
        say(f"{folder / taught.FILE} is not there: learning is left out; set EDDY_DATA to the folder of the recorded runs (docs/benchmarks.md says where they come from)")
        return {}
    first, second, last = taught.thirds(folder)
    base = taught.pretrain(options.folder / "base", first, say)
    figures: dict[str, Any] = {}
    for name, pairs in (("learned", second), ("shuffled", taught.shuffled(second))):
        result = taught.adapt(base, options.folder / name, pairs, first, last, say)
        exact = _exact(base, result, last, options)
        judged = judge(Scores(by_id=result["scores"]["base"]), Scores(by_id=result["scores"]["adapter"]), alpha=ALPHA, max_pairs=len(result["scores"]["base"]))
        say(f"{name}: {judged.verdict}: {judged.reason}")
        figures[f"gate_of_{name}"] = int(judged.verdict == "promote")
        drop, gain = 1 - result["held_out_loss_after"] / result["held_out_loss_before"], [round(value, 4) for value in result["token_accuracy"]["gain"]]
        exact_gain = [round(value, 4) for value in exact.gain()]
        suffix = "" if name == "learned" else "_of_shuffled"
        figures |= {f"loss_drop{suffix}": drop, f"accuracy_gain{suffix}": gain, f"exact_gain{suffix}": exact_gain, f"exact_match{suffix}": exact.as_dict()["adapter"]}
    return figures


def _exact(base: Path, result: dict[str, Any], last: list[dict[str, Any]], options: Options) -> Any:
    """Let base and adapter answer each held-out query once, and count the answers that are one of the right ones."""
    from peft import PeftModel

    from benchmarks import training_learning as taught
    from stream.learning import LoRATrainingConfig
    from stream.training import models
    from stream.training.answers import score_answers
    from stream.training.conversation import read_pair

    right = taught.answered(last)
    asked_once = list({pair["input"]: pair for pair in last}.values())[: options.size(1000, 20)]
    model = PeftModel.from_pretrained(models.load_base(str(base), LoRATrainingConfig(), "cpu"), result["adapter_path"]).eval()
    by_wanted = {" ".join(pair["output"].split()): right[pair["input"]] for pair in asked_once}
    return score_answers(
        model,
        models.load_tokenizer(str(base)),
        {place: read_pair(pair) for place, pair in enumerate(asked_once)},
        score=lambda answer, wanted: float(" ".join(answer.lower().split()) in by_wanted[wanted]),
        max_new_tokens=ANSWER_TOKENS,
        on_answer=lambda done, of: say(f"answered {done} of {of}") if done % 50 == 0 else None,
    )


def gpu(_: Options) -> dict[str, Any]:
    """Measure the share of a card's matrix rate, eager and compiled."""
    import torch

    if not torch.cuda.is_available():
        say("there is no card: its part is left out")
        return {}
    from benchmarks.training_gpu import shares

    figures = {}
    for kind in ("eager", "compiled"):
        found = shares(compiled=kind == "compiled")
        figures |= {f"gpu_{name}_{kind}": value for name, value in found.items()}
    return figures | {"gpu_name": torch.cuda.get_device_name()}


def main() -> None:
    """Measure and report."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with asked("training", __doc__, parts=PARTS) as options:
        import torch
        from transformers.utils import logging

        torch.set_num_threads(1)
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        figures: dict[str, Any] = {}
        parts: dict[str, Callable[[Options], dict[str, Any]]] = {"masks": masks, "speed": speed, "learning": learning, "gpu": gpu}
        for name, measure in parts.items():
            if options.runs(name):
                figures |= measure(options)
        figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
        versions = ", ".join(f"{package} {version}" for package, version in _versions().items())
        report.finish("training", figures, conditions=f"One thread; {versions}.", notes=NOTES, write=options.writes)


def _versions() -> dict[str, str]:
    from stream.training.adapters import libraries

    return libraries()


if __name__ == "__main__":
    main()
